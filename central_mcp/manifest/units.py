"""Quantities as people write them in central.yml: 512M, 60s, 10m, 1%, 2x. Pure."""

import re

_SIZE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT](i?[bB])?)?$"
TIME_PATTERN = r"^([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d))+$"
SHARE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?%$"
FACTOR_PATTERN = r"^[0-9]+(\.[0-9]+)? ?x$"

_TIME_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")


def size(value: object) -> int:
    """Bytes of `512M`, `1.5G`, `64KiB` or a plain number. Raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(SIZE_PATTERN[1:-1], value):
        number, unit = re.match(r"([0-9.]+) ?([a-zA-Z]?)", value).groups()  # type: ignore[union-attr]
        return int(float(number) * _SIZE[unit.lower()])
    raise ValueError("must be a size such as 512M or 2G")


def seconds(value: object) -> float:
    """Seconds of `500ms`, `60s`, `10m`, `1h30m` or a plain number of seconds. Raises `ValueError`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(TIME_PATTERN[1:-1], value):
        return sum(float(number) * _TIME[unit] for number, unit in _TIME_PART.findall(value))
    raise ValueError("must be a time such as 500ms, 60s, 10m or 1h")


def share(value: object) -> float:
    """0..1 of `1%`. Raises `ValueError`; a bare number is refused, since 1 could mean 1 % or all."""
    if isinstance(value, str) and re.fullmatch(SHARE_PATTERN[1:-1], value):
        return float(value.rstrip("% ")) / 100
    raise ValueError("must be a percentage such as 1%")


def factor(value: object) -> float:
    """2.0 of `2x`. Raises `ValueError`."""
    if isinstance(value, str) and re.fullmatch(FACTOR_PATTERN[1:-1], value):
        return float(value.rstrip("x "))
    raise ValueError("must be a factor such as 2x")
