"""Log files of servers and programs: found by name, shown from the end, followed across rotation."""

import time
from pathlib import Path
from typing import TextIO

from ..home import Home

POLL_S = 0.2


def find(home: Home, name: str) -> list[Path]:
    """Current log files of one server or program."""
    server = home.log / "servers" / f"{name}.log"
    found = [server] if server.is_file() else []
    for pattern in (f"{name}.log", f"{name}[-_.#]*.log", f"{name}.out", f"{name}.out.[0-9]"):
        found += [path for path in sorted(home.log.glob(pattern)) if path.stat().st_size]
    return found


def names(home: Home) -> list[str]:
    servers = {path.stem for path in (home.log / "servers").glob("*.log")}
    programs = {path.stem for path in home.log.glob("*.log")}
    return sorted(servers) + sorted(programs)


def show(paths: list[Path], lines: int, follow: bool) -> None:
    """Print the last `lines` of each; with `follow`, then whatever is added, until interrupted."""
    for path in paths:
        if len(paths) > 1:
            print(f"==> {path} <==")
        for line in tail(path, lines):
            print(line)
    if follow:
        _follow(paths)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines; reads at most 8 KiB a line from the end."""
    if not lines:
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - lines * 8192))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def _follow(paths: list[Path]) -> None:
    opened: dict[Path, TextIO] = {}
    for path in paths:
        opened[path] = path.open(errors="replace")
        opened[path].seek(0, 2)
    while True:
        idle = True
        for path, file in opened.items():
            for line in file:
                print(line, end="", flush=True)
                idle = False
            if idle and rotated(path, file):
                file.close()
                opened[path] = path.open(errors="replace")
        if idle:
            time.sleep(POLL_S)


def rotated(path: Path, file: TextIO) -> bool:
    """True when `path` is another file than the open one, or was cut."""
    import os

    try:
        now, then = path.stat(), os.fstat(file.fileno())
    except OSError:
        return False
    return now.st_ino != then.st_ino or now.st_size < file.tell()
