"""A rollout's events as lines, for `deploy` and `rollback`: the same words that a push prints."""

from collections.abc import Iterable
from typing import Any

from .errors import CliError
from .output import Steps, print_table

OUTCOMES = {"deployed": "deployed", "unchanged": "nothing changed", "rolled-back": "rolled back"}


def follow(messages: Iterable[dict[str, Any]], steps: Steps) -> dict[str, Any]:
    """Show the events, return `done`. Raises `CliError` when the rollout was refused or failed."""
    failed: list[dict[str, Any]] = []
    done: dict[str, Any] = {}
    for message in messages:
        if "done" in message:
            done = dict(message["done"])
            continue
        event = message.get("event", {})
        if event.get("type") == "failed":
            failed.append(event)
        for line in told(event):
            steps.line(line)
    steps.abandon()
    if done.get("outcome") == "refused" or (failed and done.get("outcome") not in OUTCOMES):
        first = failed[0] if failed else done
        where = ": ".join(str(first[key]) for key in ("server", "stage", "cause") if first.get(key))
        raise CliError(where or "the rollout was refused", str(first.get("hint") or "the old release serves on"))
    return done


def told(event: dict[str, Any]) -> list[str]:
    """The lines of one event; most have none or one."""
    kind = event.get("type")
    if kind == "line":
        return [str(event["text"])]
    if kind == "server":
        seconds = f" ({event['seconds']:.1f} s)" if event.get("seconds") is not None else ""
        return [f"  {event['server']}: {event['stage']} {event.get('detail') or ''}".rstrip() + seconds]
    if kind == "live":
        return [f"live after {event['seconds']:.1f} s"]
    if kind == "failed":
        head = f"  {event.get('server') or 'rollout'}: {event.get('stage')}: {event.get('cause')}"
        return [head, *(f"    | {line}" for line in event.get("log") or [])]
    return []


def print_result(done: dict[str, Any]) -> None:
    outcome = str(done.get("outcome"))
    print(f"v{done.get('release')}: {OUTCOMES.get(outcome, outcome)} ({float(done.get('seconds') or 0):.1f} s)")
    columns = ("name", "category", "port", "release", "tools", "seconds", "change")
    if done.get("servers"):
        print_table([c.upper() for c in columns], [[server.get(c) for c in columns] for server in done["servers"]])
