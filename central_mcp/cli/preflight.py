"""Is the port free, and if not, who has it? Looks only.

Standard library only: called before anything is provisioned, also by `scripts/bootstrap.py` before there is a .venv.
"""

import hashlib
import http.client
import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 3000


class PreflightError(Exception):
    """What is in the way; `next_step` says how to go on."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True)
class Holder:
    """The program that listens on a port, as far as /proc lets this user see."""

    pid: int | None = None
    program: str = ""
    home: Path | None = None
    """CENTRAL_HOME of a cloud's coordinator, if its environment can be read."""
    cloud: str = ""
    """The cloud's name in /health."""

    def __str__(self) -> str:
        if self.home or self.cloud:
            whose = f"the cloud of {self.home}" if self.home else "another user's cloud"
            return whose + (f" (pid {self.pid})" if self.pid else "")
        return f"{self.program} (pid {self.pid})" if self.pid else "another user's program"


def wanted_port(root: Path, environ: dict[str, str]) -> int:
    """CENTRAL_PORT, else what the home recorded, else 3000. Raises `PreflightError`."""
    text = environ.get("CENTRAL_PORT", "").strip()
    if not text:
        try:
            return int(json.loads((root / "etc" / "settings.json").read_bytes())["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return DEFAULT_PORT
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise PreflightError(f"CENTRAL_PORT={text}: not a port", "name one from 1 to 65535: CENTRAL_PORT=3001 make up")
    return int(text)


def check_port(root: Path, port: int, host: str = "127.0.0.1") -> None:
    """Return if `port` is free or already served by the cloud of `root`. Raises `PreflightError` naming the holder."""
    if is_free(host, port):
        return
    holder = find_holder(host, port)
    if holder.home == root.resolve() or (holder.cloud and holder.cloud == cloud_of(root)):
        return
    other = next((p for p in range(port + 1, 65536) if is_free(host, p)), port + 1)
    raise PreflightError(f"port {port}: taken by {holder}", f"CENTRAL_PORT={other} make up, or stop that program")


def is_free(host: str, port: int) -> bool:
    """True if we could listen. Without SO_REUSEPORT, which would hide a coordinator that already listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError as exc:
            raise PreflightError(f"port {port}: not allowed for this user", "CENTRAL_PORT=3000 make up") from exc
        except OSError:
            return not listening_inodes(port)  # closed connections alone may hold it
    return True


def find_holder(host: str, port: int) -> Holder:
    """Who listens on `port`: by /proc, and by asking its /health which cloud it serves."""
    cloud = asked_cloud(host, port)
    inodes = listening_inodes(port)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and inodes & socket_inodes(folder):
            return Holder(int(folder.name), command(folder), environment_home(folder), cloud)
    return Holder(cloud=cloud)


def asked_cloud(host: str, port: int) -> str:
    """`cloud` in the answer of /health; empty when there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read(65536)).get("cloud", ""))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return ""
    finally:
        connection.close()


def cloud_of(root: Path) -> str:
    """The name that the coordinator of home `root` gives itself in /health; empty before the home is made."""
    try:
        key = (root / "etc" / "machine.key").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(b"central-mcp cloud " + key).hexdigest()[:16]


def listening_inodes(port: int) -> set[str]:
    """Inodes of the TCP sockets that listen on `port` (proc(5): local address, then state 0A)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(fields[9])
    return found


def socket_inodes(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
            if match:
                found.add(match[1])
    except OSError:
        pass
    return found


def command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:100]
    except OSError:
        return "?"


def environment_home(process: Path) -> Path | None:
    try:
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    named = next((v for v in variables if v.startswith(b"CENTRAL_HOME=")), None)
    return Path(os.fsdecode(named.partition(b"=")[2])).resolve() if named else None
