"""Names in the aggregate: `<server>__<tool>`, at most 60 characters, the same for ever, reversible by an index.

Pure. A server's name holds no `__` and does not end in `_`, so the first `__` always ends the server and names of two
servers can never meet. Many model APIs take only `[A-Za-z0-9_-]` and 64 characters: a tool's name that does not fit is
shortened and marked by a hash of the whole name, which depends on nothing but that name.
"""

import base64
import hashlib
import re
from collections.abc import Iterable

MAX_NAME = 60
_HASH = 10  # base32 digits: 50 bits
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def exposed_name(server: str, tool: str, digits: int = _HASH) -> str:
    """The aggregate's name of `tool` of `server`."""
    name = f"{server}__{tool}"
    clean = _FOREIGN.sub("_", tool)
    if clean == tool and len(name) <= MAX_NAME:
        return name
    return _shortened(server, clean, name, digits)


def exposed_names(server: str, tools: Iterable[str]) -> dict[str, str]:
    """Exposed name -> tool, for all tools of one server. Duplicate tools collapse.

    A shortened name that happens to be another tool's own name gets a longer hash: that can only move names within
    this server's own list.
    """
    names: dict[str, str] = {}
    unfit: list[str] = []
    for tool in dict.fromkeys(tools):
        name = f"{server}__{tool}"
        if exposed_name(server, tool) == name:
            names[name] = tool
        else:
            unfit.append(tool)
    for tool in sorted(unfit):
        digits = _HASH
        while (name := exposed_name(server, tool, digits)) in names:
            digits += 2
        names[name] = tool
    return names


def _shortened(server: str, clean: str, name: str, digits: int) -> str:
    mark = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()[:digits]
    room = MAX_NAME - len(server) - 2 - digits - 1
    return f"{server}__{clean[: max(room, 0)]}_{mark}"
