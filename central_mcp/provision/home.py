"""The `home` role: folders with their modes, the machine key, `etc/settings.json`. Starts nothing."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..home import MAX_SOCKET_PATH, Home, HomeError, Settings
from ..registry.store import write_atomic
from ..toolchain import find_node
from .outcome import Outcome, ProvisionError

PRIVATE, OPEN = 0o700, 0o755
FOLDERS = {
    "git": OPEN,
    "projects": OPEN,
    "envs": OPEN,
    "registry": OPEN,
    "registry/tools": OPEN,
    "hooks": OPEN,
    "data": OPEN,
    "log": PRIVATE,
    "log/rollouts": PRIVATE,
    "log/servers": PRIVATE,
    "etc": PRIVATE,
    "etc/programs": PRIVATE,
    "etc/runner": PRIVATE,
    "keys": PRIVATE,
}
RUN_FOLDERS = {"": PRIVATE, "s": PRIVATE, "supervisor": PRIVATE}


def prepare(root: Path, wishes: dict[str, Any], *, check: bool = False) -> Outcome:
    """Make `root` a home whose settings are `wishes` over what it recorded before. Raises `ProvisionError`."""
    outcome = Outcome()
    home = Home(root)
    settings = choose(home, wishes)
    for folder, mode in {"": PRIVATE, **FOLDERS}.items():
        make_folder(root / folder, mode, outcome, check)
    for folder, mode in RUN_FOLDERS.items():
        make_folder(settings.run / folder, mode, outcome, check)
    make_key(home.machine_key, outcome, check)
    write_settings(home, settings, outcome, check)
    outcome.facts = {"run": str(settings.run), "port": settings.port, "node": str(settings.node or "")}
    return outcome


def choose(home: Home, wishes: dict[str, Any]) -> Settings:
    """The settings to have: wishes, else what is recorded, else what this machine has. Pure but for looking."""
    recorded = recorded_settings(home)
    node = find_node()
    found = {
        "run": Path(recorded["run"]) if "run" in recorded else run_folder(home.root),
        "python": Path(sys.executable),
        "uv": Path(sys.executable).with_name("uv"),
        "node": node.node if node else None,
        "npm": node.npm if node else None,
        "coordinators": recorded.get("coordinators", min(4, len(os.sched_getaffinity(0)))),
    }
    kept = {name: value for name, value in recorded.items() if name not in ("python", "uv", "node", "npm")}
    try:
        settings = Settings.model_validate({**found, **kept, **wishes})
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProvisionError(f"setting {where}: {first['msg']}; docs/settings.md lists them all") from exc
    longest = len(os.fsencode(settings.run / "s" / "0123456789ab.sock"))
    if longest > MAX_SOCKET_PATH:
        raise ProvisionError(
            f"{settings.run}: socket paths in it have {longest} bytes, {MAX_SOCKET_PATH} is the limit. "
            "Name a shorter folder with CENTRAL_RUN=/some/folder"
        )
    return settings


def recorded_settings(home: Home) -> dict[str, Any]:
    """What `etc/settings.json` says now; empty when there is none yet. Raises `ProvisionError` when it is broken."""
    if not (home.etc / "settings.json").exists():
        return {}
    try:
        return home.settings.model_dump(mode="json")
    except HomeError as exc:
        raise ProvisionError(f"{exc}; or remove that file to have it written anew") from exc


def run_folder(root: Path) -> Path:
    """`run` in the home if socket paths fit, else a folder of ours in the temporary folder."""
    inside = root / "run"
    if len(os.fsencode(inside / "s" / "0123456789ab.sock")) <= MAX_SOCKET_PATH:
        return inside
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"central-{os.getuid()}-{name}"


def make_folder(path: Path, mode: int, outcome: Outcome, check: bool) -> None:
    """`path` as a folder of ours with `mode`. Another user's folder or a link in its place is refused."""
    try:
        now = path.lstat()
    except FileNotFoundError:
        outcome.did(f"folder {path} ({mode:04o})")
        if not check:
            path.mkdir(parents=True, mode=mode)
            path.chmod(mode)  # mkdir's mode is cut by the umask
        return
    if not stat.S_ISDIR(now.st_mode) or now.st_uid != os.getuid():
        raise ProvisionError(
            f"{path} is in the way: not a folder of this user. Move it, or choose another with CENTRAL_RUN"
        )
    if stat.S_IMODE(now.st_mode) != mode:
        outcome.did(f"mode of {path}: {stat.S_IMODE(now.st_mode):04o} -> {mode:04o}")
        if not check:
            path.chmod(mode)


def make_key(path: Path, outcome: Outcome, check: bool) -> None:
    """32 random bytes, made once: session ids sealed with it must stay readable."""
    if path.exists():
        return
    outcome.did(f"machine key {path}")
    if not check:
        with contextlib.suppress(FileExistsError):
            write_atomic(path, secrets.token_bytes(32), 0o600)


def write_settings(home: Home, settings: Settings, outcome: Outcome, check: bool) -> None:
    path = home.etc / "settings.json"
    outcome.before = path.read_text() if path.exists() else ""
    outcome.after = json.dumps(settings.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    if outcome.before == outcome.after:
        return
    outcome.did(f"settings {path}")
    if not check:
        write_atomic(path, outcome.after.encode(), 0o600)
