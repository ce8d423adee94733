"""`central down`: end all that `up` started, and look whether nothing of it is left."""

import time
from pathlib import Path
from typing import Any

from ..home import Home, HomeError
from ..supervise import KeeperError, keeper, leftovers
from .cloud import default_root
from .errors import CliError


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
    if keeper.running(home) is None and not leftovers.marked(home) and not left_sockets(run):
        return {"stopped": False, "told": "nothing runs"}
    try:
        keeper.stop(home)
    except KeeperError as exc:
        raise CliError(str(exc), "central down again") from exc
    sockets = left_sockets(run)
    if sockets:
        raise CliError(f"down: sockets are left: {', '.join(map(str, sockets))}", "remove them by hand")
    seconds = round(time.monotonic() - started, 1)
    return {"stopped": True, "seconds": seconds, "told": f"stopped; no process and no socket is left ({seconds} s)"}


def left_sockets(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_socket()) if run.is_dir() else []
