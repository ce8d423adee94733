"""Reading JSON-RPC messages: strict JSON, ids with their type, the modern envelope. Pure. Called by `core`."""

import json
from enum import Enum
from typing import Any, TypeGuard

from .answers import META_SUBSCRIPTION, META_VERSION

BOM = b"\xef\xbb\xbf"


class Kind(Enum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    ANSWER = "answer"
    NONSENSE = "nonsense"


def parse(raw: bytes) -> Any:
    """Strict JSON.

    :raises ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def kind_of(message: dict[str, Any]) -> Kind:
    if isinstance(message.get("method"), str):
        return Kind.REQUEST if "id" in message else Kind.NOTIFICATION
    if "method" not in message and ("result" in message or "error" in message):
        return Kind.ANSWER
    return Kind.NONSENSE


def is_id(value: object) -> TypeGuard[int | str]:
    """MCP ids are strings and integers; True and 7.0 are none."""
    return type(value) is int or type(value) is str


def id_of(message: dict[str, Any]) -> int | str | None:
    value = message.get("id")
    return value if is_id(value) else None


def part(message: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under `name`, or an empty one."""
    value = message.get(name)
    return value if isinstance(value, dict) else {}


def is_modern(params: dict[str, Any]) -> bool:
    """It carries the envelope of 2026-07-28."""
    return META_VERSION in part(params, "_meta")


def subscription(params: dict[str, Any]) -> object:
    return part(params, "_meta").get(META_SUBSCRIPTION)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
