"""The watch hands over each new snapshot, and goes on whatever it runs into."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from central_mcp.registry import RegistryError, Snapshot, Watch, watch, write
from tests.waiting import wait_until


def put(registry: Path, version: int) -> None:
    write(registry, Snapshot(version=version))


async def until(true: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, true, what)


def test_each_new_snapshot_is_handed_over_once(tmp_path: Path) -> None:
    async def run() -> list[int]:
        seen: list[int] = []
        watching = Watch(tmp_path, lambda snapshot: seen.append(snapshot.version))
        watching.start()
        put(tmp_path, 1)
        await until(lambda: 1 in seen, "version 1")
        put(tmp_path, 2)
        assert watching.refresh().version == watching.refresh().version == 2
        watching.stop()
        return seen

    assert asyncio.run(run()) == [0, 1, 2]


def test_a_file_that_cannot_be_read_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = watch.read
    tries = 0

    def few_descriptors(registry: Path) -> Snapshot:
        nonlocal tries
        tries += 1
        if tries in (2, 3):
            raise RegistryError("snapshot.json: too many open files")
        return read(registry)

    async def run() -> None:
        watching = Watch(tmp_path, lambda _: None)
        watching.start()
        put(tmp_path, 1)
        assert watching.refresh().version == watching.refresh().version == 0
        assert watching.refresh().version == 1
        watching.stop()

    monkeypatch.setattr(watch, "read", few_descriptors)
    asyncio.run(run())
    assert tries == 4


def test_a_fault_in_what_is_told_does_not_end_the_watch(tmp_path: Path) -> None:
    async def run() -> list[str]:
        faults: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: faults.append(repr(about["exception"])))
        seen: list[int] = []

        def changed(snapshot: Snapshot) -> None:
            if snapshot.version == 1:
                raise KeyError("a fault")
            seen.append(snapshot.version)

        watching = Watch(tmp_path, changed)
        watching.start()
        put(tmp_path, 1)
        await until(lambda: bool(faults), "the fault")
        put(tmp_path, 2)
        await until(lambda: 2 in seen, "version 2")
        watching.stop()
        return faults

    assert asyncio.run(run()) == ["KeyError('a fault')"]
