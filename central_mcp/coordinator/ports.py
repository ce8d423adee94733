"""Listening sockets with SO_REUSEPORT, taken only when nobody else's program owns the port.

SO_REUSEPORT lets N coordinators share a port, and would as well let us share it with a stranger (a second cloud of the
same user) who then gets half of the calls. So a port is tried without it first; if it is taken, whoever has it must
prove to be one of us by the cloud's name in /health.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

BACKLOG = 4096
ASK_S = 3.0


class PortTaken(Exception):
    """The port belongs to another program, or cannot be listened on; the message names it."""


class _Health(msgspec.Struct):
    cloud: str = ""


@contextlib.asynccontextmanager
async def one_at_a_time(lock: Path) -> AsyncIterator[None]:
    """Held from the probe until the port answers, so that two coordinators that start together see each other."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.get_running_loop().run_in_executor(None, fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def listen(host: str, port: int, cloud: str) -> socket.socket:
    """A bound, listening socket. Raises `PortTaken`."""
    family, address = await _resolve(host, port)
    try:
        _bound(family, address, share=False).close()
    except OSError as exc:
        if not await _is_ours(host, port, cloud):
            raise PortTaken(
                f"port {port} on {host} cannot be listened on: {exc.strerror}. Another program has it (`ss -ltnp` "
                f"tells which): stop that, or choose another port (CENTRAL_PORT is the coordinator's; a server's own "
                f"is not needed for `/s/NAME/mcp`)"
            ) from exc
    try:
        sock = _bound(family, address, share=True)
    except OSError as exc:
        raise PortTaken(f"port {port} on {host} cannot be listened on: {exc.strerror}") from exc
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


async def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise PortTaken(f"the address {host!r} cannot be found: {exc.strerror or exc}; correct `host`") from exc
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _bound(family: int, address: tuple[str, int], *, share: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _is_ours(host: str, port: int, cloud: str) -> bool:
    try:
        async with asyncio.timeout(ASK_S):
            health = await _ask_health(host, port)
        return msgspec.json.decode(health, type=_Health).cloud == cloud
    except (OSError, TimeoutError, msgspec.DecodeError):
        return False


async def _ask_health(host: str, port: int) -> bytes:
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    reader, writer = await asyncio.open_connection(target, port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read(65536)
        while b"}" not in answer and (more := await reader.read(65536)):
            answer += more
        return answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
