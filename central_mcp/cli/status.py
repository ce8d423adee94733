"""How `status` and `watch` tell the engine's answer to a person."""

import json
import time
from collections.abc import Sequence
from typing import Any

from .cloud import Cloud
from .output import age, print_table

STAGES = {
    "queued": "waiting for its turn: commit {}",
    "planning": "being compared with what serves: commit {}",
    "staging": "being built and tried: commit {}",
    "staged": "ready to serve: commit {}",
    "switching": "being switched to: commit {}",
    "watching": "watched: commit {} serves; if it fails now, the release before comes back",
    "holding": "still watched: commit {} serves; if it fails now, the release before comes back",
    "reverting": "going back: commit {} failed while it served",
}
"""A rollout's stage (rollout/states.py) as a user reads it."""
SERVER_COLUMNS = ("name", "project", "category", "port", "release", "state", "tools", "calls", "errors")


def print_status(answer: dict[str, Any]) -> None:
    print(f"central {answer.get('version', '?')} in {answer.get('home', '?')}")
    for project in answer["projects"]:
        print()
        for line in project_lines(project):
            print(line)
    if answer["servers"]:
        print()
        print_table([c.upper() for c in SERVER_COLUMNS], server_rows(answer["servers"]))
    programs = [[p["name"], p["state"], p.get("pid"), p.get("info")] for p in answer.get("programs", [])]
    if programs:
        print()
        print_table(("PROGRAM", "STATE", "PID", "INFO"), programs)


def project_lines(project: dict[str, Any]) -> list[str]:
    """What serves, what was refused last and why, and what is under way."""
    name = project["name"]
    lines = [f"{name}: nothing serves yet; push it"]
    if project.get("release"):
        told = str(project.get("subject") or "")
        lines = [f"{name}: v{project['release']} serves, commit {str(project['commit'])[:7]} {told}".rstrip()]
    refused = project.get("refused")
    if refused:
        at = f" {age(refused['at'])} ago" if refused.get("at") else ""
        lines.append(f"  refused{at}: commit {str(refused['commit'])[:7]}: {refused['why']}")
    rollout = project.get("rollout")
    if rollout:
        lines.append("  " + rollout_line(rollout))
    return lines


def rollout_line(rollout: dict[str, Any]) -> str:
    """What the rollout does now, in words that fit `commit 1a2b3c4`; whose it is and for how long."""
    stage = str(rollout.get("stage"))
    line = STAGES.get(stage, f"{stage}: commit {{}}").format(str(rollout.get("commit"))[:7])
    began = f", began {age(rollout['since'])} ago" if rollout.get("since") else ""
    return f"{line} (by {rollout.get('who')}{began})"


def server_rows(servers: list[dict[str, Any]]) -> list[Sequence[Any]]:
    return [[server.get(column) for column in SERVER_COLUMNS] for server in servers]


def watch(cloud: Cloud, project: str | None, count: int, every: float, as_json: bool) -> None:
    """Print a reading each `every` seconds: on a terminal over the one before, else one after the other."""
    import sys

    seen = 0
    clear = sys.stdout.isatty() and not as_json
    while True:
        answer = cloud.ask("status")
        if project:
            answer["projects"] = [p for p in answer["projects"] if p["name"] == project]
            answer["servers"] = [s for s in answer["servers"] if s["project"] == project]
        if as_json:
            print(json.dumps(answer), flush=True)
        else:
            print("\x1b[H\x1b[2J" if clear else "", end="")
            print_status(answer)
            sys.stdout.flush()
        seen += 1
        if count and seen >= count:
            return
        time.sleep(every)
