"""`central down`: end all that `up` started, and look whether nothing of it is left."""

import os
import time
from pathlib import Path
from typing import Any

from ..home import Home, HomeError
from ..provision.service import keeper_pid
from ..supervise import keeper
from .cloud import default_root
from .errors import CliError

STOP_S = 60.0


def down() -> dict[str, Any]:
    """Stop the cloud of this checkout. Fine when nothing runs. Raises `CliError` when something stays."""
    root = default_root()
    if not (root / "etc" / "settings.json").exists():
        return {"stopped": False, "told": f"nothing runs: there is no cloud in {root}"}
    home = Home(root)
    try:
        run = home.run
    except HomeError as exc:
        raise CliError(str(exc), "make up writes that file anew") from exc
    started = time.monotonic()
    if keeper_pid(home) is None and not left_processes(root) and not left_sockets(run):
        return {"stopped": False, "told": "nothing runs"}
    keeper.stop(home, STOP_S)
    processes, sockets = left_processes(root), left_sockets(run)
    if processes or sockets:
        told = ", ".join([*(f"process {pid} ({what})" for pid, what in processes.items()), *map(str, sockets)])
        raise CliError(
            f"down: left after {STOP_S:.0f} s: {told}", "central down again; then end those processes by hand"
        )
    seconds = round(time.monotonic() - started, 1)
    return {"stopped": True, "seconds": seconds, "told": f"stopped; no process and no socket is left ({seconds} s)"}


def left_processes(root: Path) -> dict[int, str]:
    """Programs of this home that still live, by the CENTRAL_HOME that each was started with; not this one."""
    mark = b"CENTRAL_HOME=" + os.fsencode(root)
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in (os.getpid(), os.getppid()):
            continue
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in environ and command:
            found[int(folder.name)] = command.strip()[:100]
    return found


def left_sockets(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_socket()) if run.is_dir() else []
