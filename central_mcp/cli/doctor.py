"""`central doctor`: what this machine and this cloud lack, and what does not hold here. Looks only."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from .cloud import Cloud
from .errors import CliError
from .output import print_table
from .up import host

FREE_BYTES = 1 << 30


State = Literal["ok", "note", "wrong"]
STATES: dict[str, State] = {"ok": "ok", "note": "note", "wrong": "wrong"}


class Finding(NamedTuple):
    what: str
    state: State
    told: str
    next_step: str = ""


def examine(cloud: Cloud) -> list[Finding]:
    """Every check, the machine's first, then what the engine finds. Raises `CliError` when there is no home."""
    return [*machine(cloud), *engine(cloud), *coordinator(cloud)]


def machine(cloud: Cloud) -> Iterator[Finding]:
    settings = cloud.home.settings
    yield Finding("home", "ok", str(cloud.home.root))
    for name, program, next_step in (
        ("python", settings.python, "make venv"),
        ("uv", settings.uv, "make venv"),
        ("node", settings.node, "make up (servers from npm are refused without it)"),
    ):
        there = program is not None and program.exists()
        yield Finding(name, "ok", str(program)) if there else Finding(name, "wrong", f"{program}: missing", next_step)
    for name in ("git", "setpriv"):
        where = shutil.which(name)
        yield Finding(name, "ok", where) if where else Finding(name, "wrong", "missing", f"apt install {name}")
    free = shutil.disk_usage(cloud.home.root).free
    told = f"{free / (1 << 30):.1f} GiB free"
    yield Finding("disk", "ok" if free > FREE_BYTES else "wrong", told, "" if free > FREE_BYTES else "make room")
    if settings.isolation == "none":
        yield Finding(
            "isolation",
            "note",
            "none: every server runs as this user and can read what you can",
            "deploy only servers that you would run yourself",
        )


def engine(cloud: Cloud) -> list[Finding]:
    """The engine's own findings; that it does not answer is one too."""
    try:
        answer = cloud.ask("doctor")
    except CliError as exc:
        return [Finding("engine", "wrong", exc.message, exc.next_step)]
    found = [Finding("engine", "ok", "answers")]
    for item in answer.get("findings", []):
        state = STATES.get(str(item.get("state")), "note")
        found.append(Finding(str(item.get("what")), state, str(item.get("told", "")), str(item.get("next", ""))))
    return found


def coordinator(cloud: Cloud) -> list[Finding]:
    """What /ready says is missing, ports that servers could not get among it."""
    settings = cloud.home.settings
    try:
        ready = asked(f"http://{host(cloud)}:{settings.port}/ready")
    except (OSError, ValueError) as exc:
        return [
            Finding(
                "coordinator",
                "wrong",
                f"port {settings.port}: {getattr(exc, 'reason', exc)}",
                "central logs coordinator",
            )
        ]
    found = []
    for missing in ready.get("not_ready", []):
        parts = missing.get("ports", {}).values() or [
            ": ".join([missing["why"], ", ".join(missing.get("servers", []))]).removesuffix(": ")
        ]
        found += [Finding(str(missing["what"]), "wrong", part, "central logs coordinator") for part in parts]
    return found or [Finding("coordinator", "ok", "answers")]


def asked(url: str) -> dict[str, Any]:
    """The JSON answer of a GET, whatever its status. Raises `OSError`, `ValueError`."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as exc:
        with exc:
            return dict(json.load(exc))


def print_findings(findings: list[Finding]) -> None:
    print_table(("CHECK", "STATE", "FOUND", "NEXT"), findings)
