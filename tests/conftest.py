"""How several processes share the tests out: what uses one cloud stays together, the slow ones go first."""

import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
SHARE_A_CLOUD = ("integration/fleet",)
"""Folders whose files use one cloud; elsewhere a file is the unit."""
SLOW_FIRST = ("integration/fleet", "integration/faults", "integration/engine", "integration/coordinator", "integration")


def pytest_configure() -> None:
    """A test run that is ended from outside (a time limit) still stops the clouds that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.path.relative_to(TESTS)))


def rank(place: Path) -> int:
    return next((at for at, folder in enumerate(SLOW_FIRST) if place.is_relative_to(folder)), len(SLOW_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByCloud(config, log)


class ByCloud(LoadScopeScheduling):  # type: ignore[misc]
    """A file goes to one process, and so does a folder whose files share a cloud."""

    def _split_scope(self, nodeid: str) -> str:
        place = Path(nodeid.partition("::")[0].removeprefix("tests/"))
        return next((folder for folder in SHARE_A_CLOUD if place.is_relative_to(folder)), str(place))
