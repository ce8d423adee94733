"""The gate's rules: which tool list may serve, and how it differs from the one that serves.

Pure. The engine's `staging` asks the staged release for its tools over the router's link and brings them here.
Rules from MCP 2026-07-28, server/tools (names, inputSchema), and limits of our own.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}", re.ASCII)
MAX_TOOLS = 2000
MAX_TOOL_BYTES = 256 << 10
"""One tool with its schemas, as JSON."""
MAX_LIST_BYTES = 8 << 20
"""All tools of one server; the front's largest message is 16 MiB."""
MAX_PAGES = 100
SHOWN = 5
"""How many problems a person is shown; the rest is counted."""


@dataclass(frozen=True)
class Diff:
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        """`+search -find ~status`, shortened; empty when nothing differs."""
        parts = [f"{sign}{name}" for sign, names in self._signed() for name in names[:SHOWN]]
        more = sum(max(0, len(names) - SHOWN) for _, names in self._signed())
        return " ".join(parts + ([f"and {more} more"] if more else []))

    def _signed(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("+", self.added), ("-", self.removed), ("~", self.changed)


def check(tools: Any) -> list[str]:
    """Every reason why this list must not serve, each one line naming the tool. Empty: it may."""
    if not isinstance(tools, list):
        return [f"tools/list answered with {_kind(tools)} where a list of tools belongs"]
    if len(tools) > MAX_TOOLS:
        return [f"{len(tools)} tools; at most {MAX_TOOLS} are allowed"]
    problems: list[str] = []
    names: set[str] = set()
    total = 0
    for at, tool in enumerate(tools):
        where = _where(at, tool)
        problems += [f"{where}: {what}" for what in _check_tool(tool, names)]
        size = len(json.dumps(tool, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        total += size
        if size > MAX_TOOL_BYTES:
            problems.append(f"{where}: {size >> 10} KiB; one tool may have {MAX_TOOL_BYTES >> 10}")
    if total > MAX_LIST_BYTES:
        problems.append(f"the list has {total >> 20} MiB; {MAX_LIST_BYTES >> 20} are allowed")
    return problems


def shown(problems: Sequence[str]) -> str:
    """The first problems as one line."""
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def health(result: Any) -> str:
    """Why the manifest's health call failed, or empty. `result`: the `result` of its tools/call."""
    if not isinstance(result, dict):
        return f"the health call answered with {_kind(result)}"
    if result.get("isError") is True:
        texts = [c.get("text", "") for c in result.get("content", []) if isinstance(c, dict)]
        return "the health call answered with an error: " + " ".join(" ".join(texts).split())[:300]
    if result.get("resultType", "complete") != "complete":
        return f"the health call asked for input ({result['resultType']}); choose a tool that needs none"
    return ""


def diff(serving: Sequence[Any], staged: Sequence[Any]) -> Diff:
    """How the staged tool list differs from the serving one, by tool name."""
    old = {t["name"]: t for t in serving}
    new = {t["name"]: t for t in staged}
    return Diff(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
    )


def _check_tool(tool: Any, names: set[str]) -> list[str]:
    if not isinstance(tool, dict):
        return [f"is {_kind(tool)}, not an object"]
    problems = []
    name = tool.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append("its name must be 1 to 128 of A-Z a-z 0-9 _ . -")
    elif name in names:
        problems.append("its name appears twice")
    else:
        names.add(name)
    if not isinstance(tool.get("description", ""), str):
        problems.append("its description is not a text")
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        problems.append(f"its inputSchema is {_kind(schema)}, not an object")
    elif schema.get("type") != "object":
        problems.append('its inputSchema must have "type": "object"')
    elif not isinstance(schema.get("properties", {}), dict):
        problems.append("its inputSchema's properties are not an object")
    if not isinstance(tool.get("outputSchema", {}), dict):
        problems.append("its outputSchema is not an object")
    return problems


def _where(at: int, tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return f"tool {name[:60]!r}" if isinstance(name, str) and name else f"tool number {at + 1}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}.get(type(value), "a number")
