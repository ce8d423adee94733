"""What a rollout says: its plan as events, and the one `done` that answers who asked for it. Only reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..rollout.errors import RolloutError
from ..rollout.plan import Plan
from .state import Rollout, State, now


def plan(made: Plan, headline: str) -> Iterator[dict[str, Any]]:
    """The plan's events, headed by what the project has not been told yet (a later revert)."""
    if headline:
        yield {"type": "line", "text": headline}
    for change in made.changes:
        if change.change != "unchanged":
            yield {"type": "plan", **change.json()}
    kept = sum(change.change == "unchanged" for change in made.changes)
    if kept:
        yield {"type": "line", "text": f"{kept} unchanged server{' stays' if kept == 1 else 's stay'} untouched"}


def deployed(state: State, row: Rollout, outcome: str, seconds: Mapping[str, float]) -> dict[str, Any]:
    """`done` of a rollout that serves. `seconds`: server -> what building, starting and gating it took."""
    rows = {(r.server, r.release): r for r in state.server_releases()}
    servers = []
    for change in row.plan:
        found = rows.get((change["server"], change["release"]))
        servers.append(
            {
                "name": change["server"],
                "category": change["category"],
                "port": change["port"],
                "release": change["release"],
                "change": change["change"],
                "tools": found.route.get("tool_count") if found and change["change"] != "removed" else None,
                "seconds": round(seconds.get(change["server"], 0.0), 2),
            }
        )
    return {
        "outcome": outcome,
        **_head(row),
        "release": row.release,
        "live_s": round(row.live_s, 2) if row.live_s is not None else None,
        "servers": servers,
    }


def refused(row: Rollout, error: RolloutError) -> dict[str, Any]:
    """`done` of a rollout that does not serve."""
    return {"outcome": "refused", **_head(row), "message": str(error), "error": error.event()}


def _head(row: Rollout) -> dict[str, Any]:
    return {
        "project": row.project,
        "commit": row.commit_id,
        "rollout": row.id,
        "seconds": round(now() - row.started, 2),
    }
