"""What a runner needs of json, signal and ctypes, at a tenth of their memory.

`json` pulls in `re`, `signal` and `socket` pull in `enum`: 1.5 MiB private in each of a thousand runners. The C halves
of the same modules cost 0.1 MiB. Where an interpreter has no such half, the whole module serves.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from typing import Any
else:
    import _signal as signals

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

__all__ = ["child_subreaper", "die_with_parent", "dumps", "end_with_parent", "loads", "signal_name", "signals"]


def _strict_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


class _Context:
    """The attributes that the C scanner asks its decoder for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_strict_constant)


def loads(text: str) -> "Any":
    """Raises `ValueError` naming the position."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = make_scanner(_Context)(text, 0)  # type: ignore[arg-type]
    except StopIteration as exc:
        raise ValueError(f"not JSON at character {exc.value}") from None
    if end != len(text):
        raise ValueError(f"not JSON at character {end}: something follows the value")
    return value


def dumps(value: "Any") -> str:
    """JSON of None, bool, int, finite float, str, list, tuple and dict with str keys."""
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quote(key)}:{dumps(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(dumps(item) for item in value) + "]"


def _quote(text: str) -> str:
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)


def signal_name(number: int) -> str:
    """9 -> "SIGKILL"."""
    for name in dir(signals):
        if name.startswith("SIG") and name[3] != "_" and getattr(signals, name) == number:
            return name
    return f"signal {number}"


def _find_prctl() -> "Any":
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return lambda *arguments: _ctypes.call_function(address, arguments)
    except (ImportError, AttributeError, OSError):
        import ctypes

        return ctypes.CDLL(None).prctl


_prctl = _find_prctl()


def child_subreaper() -> None:
    """Orphans of our descendants become our children, also those that left their session."""
    if _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed: this kernel is older than 3.4")


def end_with_parent() -> None:
    """SIGTERM to us when supervisord ends, instead of the SIGKILL that setpriv asked for: our processes end with us."""
    _prctl(PR_SET_PDEATHSIG, int(signals.SIGTERM), 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """To be called in a new child: SIGKILL when `parent` ends, and at once if it has ended already."""
    _prctl(PR_SET_PDEATHSIG, int(signals.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
