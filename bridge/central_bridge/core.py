"""What to do with a line from the client or a frame from the coordinator: the bridge's rules, without I/O.

`Core` takes messages and events with the time (seconds, any monotonic clock) and appends bytes to `voice.lines` (lines
without their end) and `to_vm` (text frames), which its shell, `bridge`, writes. It never answers an id twice, never
loses a request without an answer, and passes message bytes through unchanged. Imports nothing that does I/O.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

from . import answers
from .answers import Trouble
from .calls import DISCOVER, LISTEN, Call, Calls
from .messages import BOM, Kind, id_of, is_id, is_modern, kind_of, parse, part, subscription
from .session import MOVES, Link, Phase, Session
from .voice import Voice

HEDGE_S = 1.0
"""How long discover and initialize may wait for the coordinator's own answer while the first connection is being made:
clients give up a probe after 10 s, and the real answer knows instructions and all capabilities."""

MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 * 1024 * 1024


class Core:
    """The state machine. `broken` is a configuration error: every request is then answered with it."""

    def __init__(
        self, url: str, *, wait_s: float = 30.0, limit: int, broken: str | None = None, log: Callable[[str, str], None]
    ) -> None:
        self.url = url
        self.wait_s = wait_s
        self.limit = limit
        self.broken = broken
        self.log = log
        self.link = Link.DOWN
        self.voice = Voice(url)
        self.to_vm: list[bytes] = []
        self.calls = Calls()
        self.session: Session | None = None
        self.holding = False
        """The wire is full: nothing more is written until it drains."""
        self._ghosts: dict[int | str, str] = {}
        self._asked: set[int | str] = set()
        self._down_since = 0.0
        self._numbers = count(1)

    # From the client

    def line(self, raw: bytes, now: float) -> None:
        """One line from the client, without its end."""
        raw = raw.removeprefix(BOM).strip()
        if not raw:
            return
        try:
            message = parse(raw)
        except ValueError as error:
            self.voice.not_json(error)
            return
        if not isinstance(message, dict):
            why = "batches are not supported; send one message a line" if isinstance(message, list) else "not an object"
            self.voice.invalid(None, why)
            return
        kind, params = kind_of(message), part(message, "params")
        if kind is Kind.REQUEST:
            self._request(message, params, raw, now)
        elif kind is Kind.NOTIFICATION:
            self._notified(message["method"], params, raw)
        elif kind is Kind.ANSWER:
            self._answered_by_client(message, raw)
        else:
            self.voice.invalid(id_of(message), "neither a request, a notification nor an answer")

    def oversize(self, id: int | str | None, size: int) -> None:
        """A line from the client was over the limit and was dropped; `id` as far as it could be seen."""
        if id is not None and id in self.calls.open:
            id = None
        self.voice.invalid(id, f"a message of {size} bytes is over the limit of {self.limit}; send less at once")

    def _request(self, message: dict[str, Any], params: dict[str, Any], raw: bytes, now: float) -> None:
        id, method = id_of(message), message["method"]
        if id is None:
            self.voice.invalid(None, f"the id of {method} must be a string or an integer")
        elif id in self.calls.open or (self.session and not self.session.answered and self.session.client_id == id):
            self.voice.invalid(None, f"id {id!r} is already in use by a request that is still open")
        elif self.broken is not None:
            self.voice.lines.append(answers.error(id, answers.MISCONFIGURED, self.broken))
        elif method == "ping" and not is_modern(params):
            self.voice.lines.append(answers.result(id, {}))
        elif method == "initialize":
            self._initialize(message, id, now)
        else:
            name = params.get("name")
            tool = name if method == "tools/call" and isinstance(name, str) else None
            kept = {} if method in ("tools/call", "resources/read") else params
            call = Call(id, method, raw, now, kept, tool)
            if method == DISCOVER:
                call.hedge = now + HEDGE_S
            self._admit(call, now)

    def _admit(self, call: Call, now: float) -> None:
        if self.link is not Link.READY:
            if self.voice.trouble is not None and call.method == DISCOVER:
                self.voice.discover(call)
                return
            if self.voice.trouble is not None and self.voice.trouble.final and call.method != LISTEN:
                self._unreachable(call, self.voice.trouble)
                return
            full = len(self.calls.open) >= MAX_WAITING or (self.calls.waiting_bytes + len(call.raw) > MAX_WAITING_BYTES)
            if full:
                hint = "Too many requests wait for it already; try again later."
                self._unreachable(call, Trouble(self._cause(), hint))
                return
        self.calls.add(call)
        self._pump()

    def _initialize(self, message: dict[str, Any], id: int | str, now: float) -> None:
        session = self.session = Session(message, id, now + HEDGE_S)
        if self.link is Link.READY:
            self._move(Link.OPEN)
        if self.link is Link.OPEN:
            self._send_initialize()
        elif self.voice.trouble is not None:
            self.voice.initialize(session)

    def _notified(self, method: str, params: dict[str, Any], raw: bytes) -> None:
        if method == "notifications/initialized" and self.session is not None:
            self.session.initialized = raw
            if self.session.phase is Phase.DONE:
                self.to_vm.append(raw)
        elif method == "notifications/cancelled":
            target = params.get("requestId")
            call = self.calls.close(target) if is_id(target) else None
            if call is not None and call.sent:
                self.to_vm.append(raw)
                self._pump()
        elif self.link is Link.READY and self.broken is None:
            self.to_vm.append(raw)

    def _answered_by_client(self, message: dict[str, Any], raw: bytes) -> None:
        id = id_of(message)
        if id is not None and id in self._asked:
            self._asked.discard(id)
            self.to_vm.append(raw)
        else:
            self.log("debug", "an answer of the client to a request of a connection that is gone was dropped")

    # From the coordinator

    def frame(self, raw: bytes, now: float) -> None:
        """One text frame from the coordinator."""
        try:
            message = parse(raw)
        except ValueError as error:
            self.log("warning", f"a frame from {self.url} is not JSON and was dropped: {error}")
            return
        if not isinstance(message, dict):
            self.log("warning", f"a frame from {self.url} is not one JSON-RPC message and was dropped")
            return
        if b"\n" in raw or b"\r" in raw:
            raw = answers.encode(message)
        if isinstance(message.get("method"), str):
            self._from_vm(message, raw)
        else:
            self._result(message, raw)

    def _from_vm(self, message: dict[str, Any], raw: bytes) -> None:
        method = message["method"]
        params, id = part(message, "params"), id_of(message)
        if "id" in message:
            if method == "ping":
                self.to_vm.append(answers.result(id, {}))
            elif id is not None:
                self._asked.add(id)
                self.voice.lines.append(raw)
        elif method == "notifications/subscriptions/acknowledged":
            self._acknowledged(params, raw)
        elif method == "notifications/cancelled" and self._is_listen(params.get("requestId")):
            listen = params["requestId"]
            self.calls.close(listen)
            self.voice.lines.append(answers.listen_ended(listen))
        elif method == "notifications/cancelled":
            target = params.get("requestId")
            if is_id(target):
                self._asked.discard(target)
            self.voice.lines.append(raw)
        else:
            self.voice.lines.append(raw)

    def _result(self, message: dict[str, Any], raw: bytes) -> None:
        id = id_of(message)
        session = self.session
        if session is not None and id is not None and id == session.wire_id:
            self._initialize_answered(session, message)
            return
        call = self.calls.open.get(id) if id is not None else None
        if call is None or not call.sent:
            method = self._ghosts.pop(id, None) if id is not None else None
            if method == DISCOVER:
                self.voice.learn(message)
            elif method is None:
                self.log("debug", f"an answer from {self.url} to id {id!r}, which is not open, was dropped")
            return
        self.calls.close(call.id)
        if len(raw) > self.limit:
            text = f"the answer to {call.what} is {len(raw)} bytes, over the limit of {self.limit}; ask for less"
            self.voice.invalid(call.id, text)
        else:
            self.voice.lines.append(raw)
        self._note(call, message)
        self._pump()

    def _note(self, call: Call, message: dict[str, Any]) -> None:
        """Learn from an answer that passes by."""
        value = message.get("result")
        if not isinstance(value, dict):
            return
        if call.method == "tools/list":
            self.calls.learn_tools(value, first=not call.params.get("cursor"))
        elif call.method == DISCOVER:
            self.voice.learn(message)
        elif self.session is not None:
            self.session.accepted(call.method, call.params)

    def _initialize_answered(self, session: Session, message: dict[str, Any]) -> None:
        session.wire_id = ""
        if "error" in message and not session.answered:
            self.voice.relay_initialize(session, message)
            self.session = None
        elif "error" in message:
            self.log("warning", f"{self.url} refused to open the session again: {message['error']}")
        else:
            self.voice.learn(message)
            if not session.answered:
                self.voice.relay_initialize(session, message)
        session.phase = Phase.DONE
        self._ready()

    def _acknowledged(self, params: dict[str, Any], raw: bytes) -> None:
        id = subscription(params)
        call = self.calls.open.get(id) if is_id(id) else None
        if call is None or call.method != LISTEN:
            return
        if not call.acked:
            call.acked = True
            self.voice.lines.append(raw)
        if call.stale:
            call.stale = False
            self.voice.lines += answers.listen_changes(call.id, call.params.get("notifications"))

    # Events of the connection

    def up(self, now: float) -> None:
        """A new connection is open."""
        self._move(Link.OPEN)
        self.voice.trouble = None
        if self.session is None:
            self._ready()
        else:
            self._send_initialize()

    def lost(self, now: float, why: str, *, too_big: bool = False) -> None:
        """The connection is gone; `too_big`: the coordinator closed it over the size of a message (1009)."""
        self._move(Link.DOWN)
        self.holding = False
        self._down_since = now
        self.to_vm.clear()
        self._ghosts.clear()
        for id in self._asked:
            self.voice.withdrawn(id)
        self._asked.clear()
        if self.session is not None:
            self.session.phase, self.session.wire_id = Phase.NONE, ""
        if too_big:
            self._blame_biggest()
        for call in self.calls.lose():
            self.voice.unknown(call, why)
        self.voice.stale = True

    def failed(self, now: float, trouble: Trouble) -> None:
        """An attempt to connect failed."""
        self.voice.trouble = trouble
        session = self.session
        if session is not None and not session.answered:
            self.voice.initialize(session)
        for call in self.calls.waiting():
            if call.method == DISCOVER:
                self.calls.close(call.id)
                self.voice.discover(call)
            elif trouble.final and call.method != LISTEN:
                self.calls.close(call.id)
                self._unreachable(call, trouble)

    def drained(self) -> None:
        """The wire takes more."""
        self.holding = False
        self._pump()

    def tick(self, now: float) -> None:
        """Answer what has waited long enough."""
        session = self.session
        if session is not None and not session.answered and now >= session.hedge:
            self.voice.initialize(session)
        for call in list(self.calls.open.values()):
            if call.hedge is not None and now >= call.hedge:
                if call.sent:
                    self._ghosts[call.id] = call.method
                self.calls.close(call.id)
                self.voice.discover(call)
            elif self._expires(call) <= now:
                self.calls.close(call.id)
                hint = "It keeps trying by itself; try again later."
                trouble = self.voice.trouble or Trouble(self._cause(), hint)
                self._unreachable(call, trouble, f" Waited {self.wait_s:g} s.")

    def due(self) -> float | None:
        """When `tick` has something to do next, or None."""
        session, calls = self.session, self.calls.open.values()
        times = [call.hedge for call in calls if call.hedge is not None] if self.calls.hedged else []
        if session is not None and not session.answered:
            times.append(session.hedge)
        if self.link is not Link.READY:
            times += [t for t in map(self._expires, calls) if t != float("inf")]
        return min(times, default=None)

    @property
    def busy(self) -> bool:
        """An answer is still owed (listens apart, which have no end)."""
        unanswered = self.session is not None and not self.session.answered
        return unanswered or any(call.method != LISTEN for call in self.calls.open.values())

    # Steps

    def _move(self, to: Link) -> None:
        if (self.link, to) not in MOVES:
            raise AssertionError(f"link cannot go from {self.link.value} to {to.value}")
        self.link = to

    def _ready(self) -> None:
        """The handshake of this connection is done: say what the last one knew, then let requests through."""
        self._move(Link.READY)
        session = self.session
        if session is not None:
            if session.initialized is not None:
                self.to_vm.append(session.initialized)
            for method, params in session.replays():
                self._own_request(method, params)
        self._pump()
        if self.voice.stale and session is not None and session.initialized is not None:
            self.voice.lines += answers.session_changes(self.voice.known, session.subscribed)
        self.voice.stale = False

    def _pump(self) -> None:
        while self.link is Link.READY and not self.holding:
            call = self.calls.next()
            if call is None:
                return
            self.to_vm.append(call.raw)

    def _send_initialize(self) -> None:
        session = self.session
        assert session is not None
        session.wire_id = f"central-bridge/{next(self._numbers)}"
        session.phase = Phase.SENT
        self.to_vm.append(answers.encode({**session.request, "id": session.wire_id}))

    def _own_request(self, method: str, params: dict[str, Any]) -> None:
        id = f"central-bridge/{next(self._numbers)}"
        self._ghosts[id] = method
        self.to_vm.append(answers.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))

    def _blame_biggest(self) -> None:
        sent = [call for call in self.calls.open.values() if call.sent and call.method != LISTEN]
        if sent:
            call = max(sent, key=lambda call: len(call.raw))
            self.calls.close(call.id)
            text = f"{call.what} of {len(call.raw)} bytes is over the coordinator's limit; send less at once"
            self.voice.invalid(call.id, text)

    def _unreachable(self, call: Call, trouble: Trouble, more: str = "") -> None:
        self.voice.unreachable(call, trouble, more)
        for listen in self.calls.listens():
            listen.stale = True

    def _expires(self, call: Call) -> float:
        if call.sent or call.method == LISTEN or self.link is Link.READY:
            return float("inf")
        return max(call.since, self._down_since) + self.wait_s

    def _cause(self) -> str:
        if self.link is Link.OPEN:
            return "it has not answered initialize yet"
        return self.voice.trouble.cause if self.voice.trouble else "the connection is being made"

    def _is_listen(self, id: object) -> bool:
        call = self.calls.open.get(id) if is_id(id) else None
        return call is not None and call.method == LISTEN
