"""The engine's socket: one JSON object a line, answered by zero or more events and exactly one `done` or `error`.

Checks who connects (SO_PEERCRED), bounds what they send, and answers garbage with an error. What a request means is
`engine.requests`. A client that hangs up ends only its own answer, never the rollout that it asked for.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import structlog

from ..rollout.errors import RolloutError
from ..rollout.states import NotAllowed
from .publish import PublishError
from .state import StateError

log = structlog.get_logger("engine.server")

MAX_LINE = 1 << 20
"""Bytes of one request."""
REQUEST_S = 10.0
"""Seconds that a client has to send its request after it has connected."""
_UCRED = struct.Struct("3i")

Handler = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]


class RequestError(Exception):
    """The request cannot be done as asked: `code`, a one-line message, what to do next."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class Server:
    def __init__(self, path: Path, uids: frozenset[int], handle: Handler) -> None:
        self._path = path
        self._uids = uids
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; the socket appears under its name only when it answers."""
        making = self._path.with_suffix(".new")
        making.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._client, str(making), limit=MAX_LINE, backlog=128)
        making.chmod(0o600 if len(self._uids) == 1 else 0o666)
        making.replace(self._path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # it hung up, or we are going: nothing to answer
        finally:
            self._clients.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer(writer.get_extra_info("socket"))
        if uid not in self._uids:
            log.warning("stranger", uid=uid)
            await _send(writer, _error("forbidden", f"uid {uid} may not talk to the engine"))
            return
        try:
            request = await _read(reader)
            async for message in self._handle(request):
                await _send(writer, message)
        except RequestError as exc:
            await _send(writer, _error(exc.code, str(exc), exc.hint))
        except RolloutError as exc:
            await _send(writer, _error(exc.code, str(exc), exc.hint))
        except NotAllowed as exc:
            await _send(writer, _error("not-allowed", str(exc), "central status tells what it is doing"))
        except (StateError, PublishError) as exc:
            await _send(writer, _error("state", str(exc), "central doctor tells more"))
        except ConnectionError:
            raise
        except Exception as exc:  # the boundary of one request: the engine and the other clients go on
            log.exception("request.broken")
            await _send(writer, _error("internal", f"the engine made a mistake: {exc!r}", "see log/engine.log"))


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readline()
    except TimeoutError as exc:
        raise RequestError("bad-request", f"no request within {REQUEST_S:.0f} s") from exc
    except ValueError as exc:
        raise RequestError("bad-request", f"a request may have {MAX_LINE} bytes") from exc
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise RequestError("bad-request", "a request is one JSON object on one line") from exc
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise RequestError("bad-request", 'a request is a JSON object with "do"')
    return request


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


def _error(code: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint}}


def _peer(connection: Any) -> int:
    """The uid at the other end, from the kernel."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])


def own_uid() -> frozenset[int]:
    """Where all share one user: only that one."""
    return frozenset({os.getuid()})
