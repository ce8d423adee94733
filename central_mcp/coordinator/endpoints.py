"""Which path is which endpoint. `/mcp` is the aggregate, `/s/<server>/mcp` one server, an alias port its server.

Pure. Asked by http.py and ws.py once the caller is known.
"""

import re
from collections.abc import Mapping

_SERVER = re.compile(r"/s/([a-z0-9](?:[a-z0-9_-]{0,29}[a-z0-9])?)/mcp")
AGGREGATE = ""


def server_at(path: str, port: int, aliases: Mapping[int, str]) -> str | None:
    """The server's name, "" for the aggregate, None when nothing is there. `aliases`: loopback port -> server."""
    alias = aliases.get(port)
    if alias is not None:
        return alias if path in ("/", "/mcp", f"/s/{alias}/mcp") else None
    if path == "/mcp":
        return AGGREGATE
    match = _SERVER.fullmatch(path)
    return match.group(1) if match else None
