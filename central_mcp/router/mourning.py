"""The death of a process with calls under way: why it died is found out and said to each of them. Called by `pool`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from central_mcp.protocol.errors import OutcomeUnknown

from . import exits
from .call import SAFE, Call

if TYPE_CHECKING:
    from .back import Back
    from .pool import Pool

log = structlog.get_logger("router")
_monotonic = time.monotonic


async def mourn(pool: Pool, back: Back, calls: list[Call]) -> None:
    """Answer the open calls of a dead process. Calls without effects get a second chance."""
    lived = _monotonic() - back.started
    found = await exits.wait(pool.status, back.exits_before, time.time() - lived)
    cause = found.text if found is not None else "closed its output"
    stderr = found.stderr[-exits.LINES :] if found is not None else []
    if not back.leaving:
        pool.restarts.ended(_monotonic(), lived, cause, stderr)
        log.warning("server.ended", server=pool.name, cause=cause, lived_s=round(lived, 3), calls=len(calls))
    for call in calls:
        if not call.front.holds(call):
            continue  # timed out or cancelled while we looked
        if call.what in SAFE and not call.again:
            pool.again(call)
            continue
        text = f"server {pool.server} (release {pool.number}) {cause} during {call.what}: its outcome is unknown"
        data = {"server": pool.server, "release": pool.number, "stderr": stderr}
        pool.fail(call, OutcomeUnknown(text, data))
