"""The official SDK clients list and call the tools of all five example servers, whichever way they come."""

import itertools

import pytest

from . import orders
from .peers import Sdk1, run_sdk2
from .pushed import BRIDGE, Fleet

VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25", "1.30": "2025-11-25"}
WAYS = [*itertools.product(VERSIONS, ["bridge", "http"]), ("1.30", "ws")]
TOOLS = {"sqlite": 6, "filesystem": 14, "git": 12, "fetch": 1, "notes": 6, "board": 6}


@pytest.mark.parametrize("single", [False, True], ids=["all", "single"])
@pytest.mark.parametrize(("peer", "way"), WAYS)
def test_every_server_answers(fleet: Fleet, sdk1: Sdk1, peer: str, way: str, single: bool) -> None:
    tag = f"{peer}_{way}_{single}".replace(".", "_").lower()
    planned = orders.order(orders.steps(tag, fleet.files, fleet.page), single)
    order = []
    for path, prefix, todo in planned:
        base = fleet.ws_url if way == "ws" else fleet.cloud.url
        connection = {"kind": way, "url": base + path, "key": fleet.key, "command": BRIDGE, "env": fleet.bridge(path)}
        order.append({**connection, "steps": [orders.asked(step, prefix) for step in todo]})
    reports = sdk1.run(order) if peer == "1.30" else run_sdk2(peer, order)
    for report, (_, prefix, todo) in zip(reports, planned, strict=True):
        assert report["version"] == VERSIONS[peer]
        orders.check(report, prefix, todo)
        if not single:
            counted = {server: sum(name.startswith(f"{server}__") for name in report["tools"]) for server in TOOLS}
            assert counted == TOOLS


def test_the_example_as_shipped_reads_no_inner_page(fleet: Fleet) -> None:
    assert "'isError': True" in fleet.refused
    assert "127.0.0.1, which is not a public address" in fleet.refused
