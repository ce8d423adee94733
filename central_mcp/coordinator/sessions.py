"""Sessions of legacy HTTP clients: sealed into Mcp-Session-Id, so that any coordinator serves any of them.

Owns what cannot be sealed: which sessions were ended by DELETE (one small file shared by the coordinators of a
machine), and, in this process only, log levels and calls under way (a `notifications/cancelled` that reaches another
coordinator than its call is lost; the call then ends by its deadline). Used by http.py.
"""

import os
import time
from collections import OrderedDict
from pathlib import Path

import msgspec

from central_mcp.protocol.tokens import Sealer

from .access import Caller
from .conversation import Conversation, Sink
from .exchange import Exchange
from .front import Front
from .opening import Agreed

SESSION_S = 24 * 3600.0
"""A session older than this is unknown: the client initializes again."""
LOCAL_SESSIONS = 10_000
ID_BYTES = 16
MAX_ENDED = 1 << 20
"""Bytes of the file of ended sessions, 16 each; then it starts again, the one before is kept beside it."""


class UnknownSession(Exception):
    """Not ours, not yours, ended or too old: nobody learns which."""


class _Sealed(msgspec.Struct, array_like=True):
    id: bytes
    server: str
    client: str
    agreed: Agreed | None


class _Local:
    """What this process remembers of a session."""

    __slots__ = ("log_level", "open")

    def __init__(self) -> None:
        self.open: dict[bytes, Exchange] = {}
        self.log_level = ""


class Session:
    """One session, for the length of one HTTP request."""

    def __init__(self, sealed: _Sealed, local: _Local, principal: str) -> None:
        self.sealed = sealed
        self.principal = principal
        self._local = local
        self._conversation: Conversation | None = None

    @property
    def name(self) -> str:
        """The session as the router knows it."""
        return f"{self.sealed.client}#{self.sealed.id.hex()}"

    def conversation(self, front: Front, caller: Caller, sink: Sink, *, listening: bool = False) -> Conversation:
        agreed = self.sealed.agreed
        if agreed is not None:
            agreed = msgspec.structs.replace(agreed, listening=listening, log_level=self._local.log_level)
        made = Conversation(
            front, caller, self.sealed.server, sink, session=self.name, agreed=agreed, open=self._local.open
        )
        self._conversation = made
        return made

    @property
    def agreed(self) -> Agreed | None:
        """What the request's conversation agreed on, if it was an initialize."""
        return self._conversation.agreed if self._conversation is not None else None

    def keep(self) -> None:
        """Remember, here, what a request changed."""
        if self._conversation is not None and self._conversation.agreed is not None:
            self._local.log_level = self._conversation.agreed.log_level


class Sessions:
    """All sessions as this coordinator sees them."""

    def __init__(self, front: Front, ended: Path) -> None:
        self._front = front
        self._sealer: Sealer = front.sessions
        self._ended = Ended(ended)
        self._local: OrderedDict[bytes, _Local] = OrderedDict()

    def open(self, caller: Caller, server: str) -> Session:
        """A new one, not agreed on yet."""
        sealed = _Sealed(os.urandom(ID_BYTES), server, caller.client, None)
        return Session(sealed, self._remember(sealed.id), caller.principal)

    def header(self, session: Session) -> list[tuple[bytes, bytes]]:
        """Mcp-Session-Id after a successful initialize."""
        session.sealed.agreed = session.agreed
        data = msgspec.msgpack.encode(session.sealed)
        token = self._sealer.seal(session.principal, data, time.time() + SESSION_S)
        return [(b"mcp-session-id", token.encode())]

    def find(self, caller: Caller, server: str, token: str) -> Session:
        """Raises `UnknownSession`."""
        data = self._sealer.open(caller.principal, token, time.time())
        if data is None:
            raise UnknownSession
        sealed = msgspec.msgpack.decode(data, type=_Sealed)
        if sealed.server != server or sealed.id in self._ended:
            raise UnknownSession
        return Session(sealed, self._remember(sealed.id), caller.principal)

    def end(self, session: Session) -> None:
        """DELETE: unknown from now on, to every coordinator."""
        self._ended.add(session.sealed.id)
        local = self._local.pop(session.sealed.id, None)
        for exchange in list(local.open.values()) if local else []:
            del local.open[exchange.id]  # type: ignore[union-attr]  # there is none without it
            exchange.cancel()
            exchange.conversation.sink.settled()
        self._front.link.end(session.principal, session.name)

    def _remember(self, id: bytes) -> _Local:
        local = self._local.get(id)
        if local is None:
            local = self._local[id] = _Local()
            if len(self._local) > LOCAL_SESSIONS:
                self._local.popitem(last=False)
        else:
            self._local.move_to_end(id)
        return local


class Ended:
    """Ids of ended sessions, appended to one file, its news read when it has grown."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: set[bytes] = set()
        self._read = 0
        self._load(path.with_suffix(".1"))

    def __contains__(self, id: bytes) -> bool:
        self._refresh()
        return id in self._ids

    def add(self, id: bytes) -> None:
        """Raises `OSError` when the folder cannot be written to."""
        self._refresh()
        if self._read >= MAX_ENDED:
            self._path.replace(self._path.with_suffix(".1"))
            self._read = 0
            self._ids.clear()
            self._load(self._path.with_suffix(".1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, id)
        finally:
            os.close(descriptor)
        self._ids.add(id)

    def _refresh(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size == self._read:
            return
        if size < self._read:  # another coordinator began a new file
            self._read = 0
            self._ids.clear()
            self._load(self._path.with_suffix(".1"))
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) - len(data) % ID_BYTES
        self._ids.update(data[at : at + ID_BYTES] for at in range(0, whole, ID_BYTES))
        self._read += whole

    def _load(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        self._ids.update(data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES))
