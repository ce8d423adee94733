"""A server of the standard library alone: starts in milliseconds, behaves or misbehaves as told.

    python -I -S plain.py [modern|both] [banner] [crash] [silent] [deaf] [garbage] [late=SECONDS] [touchy]

Tools: echo, pid, die, hang, progress, big, bad, stray, changed, ask, bye. A call answers with the text argument.
"""

import json
import os
import sys
import time

options = set(sys.argv[1:])
late = next((float(o[5:]) for o in options if o.startswith("late=")), 0.0)
TOOLS = ["echo", "pid", "die", "hang", "progress", "big", "bad", "stray", "changed", "ask", "bye"]
held = []  # calls without an answer


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": str(value)}], "isError": False}


def call(request):
    params, number = request["params"], request["id"]
    name, arguments, meta = params["name"], params.get("arguments", {}), params.get("_meta", {})
    if name == "echo":
        return text(arguments.get("text", ""))
    if name == "pid":
        return text(os.getpid())
    if name == "die":
        print("about to die", file=sys.stderr, flush=True)
        os._exit(int(arguments.get("code", 3)))
    if name == "progress":
        for step in range(arguments.get("steps", 3)):
            send(
                {
                    "method": "notifications/progress",
                    "params": {"progressToken": meta.get("progressToken"), "progress": step},
                }
            )
            time.sleep(arguments.get("every", 0))
        return text("done")
    if name == "big":
        return text("x" * arguments["size"])
    if name == "bad":
        sys.stdout.write(arguments["line"].replace("ID", str(number)) + "\n")
        sys.stdout.flush()
        return None
    if name == "stray":
        send({"id": 999999, "result": text("not yours")})
        send({"id": None, "result": {}})
        sys.stdout.write("[]\n{\n\xff\n\n")
        return text("fine")
    if name == "changed":
        send({"method": "notifications/tools/list_changed"})
        return text("said")
    if name == "ask":
        send({"id": "q1", "method": arguments.get("method", "ping")})
        return text(sys.stdin.readline())
    if name == "meta":
        return text(json.dumps(meta))
    if name == "bye":
        send({"id": number, "result": text("bye")})
        sys.exit(0)
    held.append(number)  # hang
    return None


def serve(request):
    method = request.get("method")
    if method == "notifications/cancelled" and "tell" in options:
        print("cancelled", json.dumps(request["params"]), file=sys.stderr, flush=True)
    if "id" not in request:
        return
    if method == "server/discover" and options & {"modern", "both"}:
        result = {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "ttlMs": 0,
        }
        result["_meta"] = {"io.modelcontextprotocol/serverInfo": {"name": "plain", "version": "2"}}
    elif method == "server/discover" and "touchy" in options:
        sys.exit("expected initialize")
    elif method == "server/discover" and "ignore" in options:
        return
    elif method == "initialize" and "modern" not in options:
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "plain", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    elif method == "tools/call":
        result = call(request)
    else:
        send({"id": request["id"], "error": {"code": -32601, "message": f"no method {method}"}})
        return
    if result is not None:
        send({"id": request["id"], "result": result})


if "banner" in options:
    print("Welcome to plain 1.0!\nListening on stdio\n")
if "crash" in options:
    print("Traceback: no module named nothing", file=sys.stderr)
    sys.exit(1)
if "garbage" in options:
    while True:
        print("<html>404</html>", flush=True)
        if not sys.stdin.readline():
            sys.exit(0)
if "deaf" in options:  # answers the handshake, then reads no more
    for _ in range(2):
        serve(json.loads(sys.stdin.readline()))
    time.sleep(3600)
time.sleep(late)
for line in sys.stdin:
    if "silent" not in options:
        serve(json.loads(line))
