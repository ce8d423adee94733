"""The cheapest honest MCP server: one tool that answers its argument, both eras, standard library only."""

import json
import sys

MODERN = "2026-07-28"
TOOL = {
    "name": "echo",
    "description": "Answers its argument",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
INFO = {"name": "echo", "version": "1"}
CAPABILITIES: dict[str, object] = {"tools": {}}


def answer(message: dict) -> dict | None:
    """The JSON-RPC answer to one request, None for a notification."""
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        return None
    if method == "tools/call":
        result: dict = {"resultType": "complete", "content": [{"type": "text", "text": params["arguments"]["text"]}]}
    elif method == "tools/list":
        result = {"resultType": "complete", "tools": [TOOL], "ttlMs": 0, "cacheScope": "private"}
    elif method == "server/discover":
        result = {
            "resultType": "complete",
            "supportedVersions": [MODERN],
            "capabilities": CAPABILITIES,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
        }
    elif method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": INFO}
    elif method == "ping":
        result = {}
    else:
        error = {"code": -32601, "message": f"no method {method}"}
        return {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def main() -> None:
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while lines := read.readline():
        reply = answer(json.loads(lines))
        if reply is not None:
            write.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
            write.flush()


if __name__ == "__main__":
    main()
