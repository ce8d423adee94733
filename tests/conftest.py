"""How several processes share the tests out: what uses one cloud stays together, the slow ones go first."""

import signal
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SHARE_A_CLOUD = ("integration/fleet",)
"""Folders whose files use one cloud; elsewhere a file is the unit."""
SLOW_FIRST = ("integration/fleet", "integration/faults", "integration/engine", "integration/coordinator", "integration")


def pytest_configure() -> None:
    """A test run that is ended from outside (a time limit) still stops the clouds that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(TESTS)
        group = next((folder for folder in SHARE_A_CLOUD if place.is_relative_to(folder)), str(place))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: rank(item.path.relative_to(TESTS)))


def rank(place: Path) -> int:
    return next((at for at, folder in enumerate(SLOW_FIRST) if place.is_relative_to(folder)), len(SLOW_FIRST))
