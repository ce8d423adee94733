"""Every page has a declared permission: a new one must be thought about."""

from typing import Any, cast

from central_mcp.coordinator.pages import pages

OPEN, INSIDERS = "open", "a key or a loopback peer"
PERMISSIONS = {"/health": OPEN, "/ready": OPEN, "/metrics": INSIDERS}


def test_every_page_has_a_declared_permission() -> None:
    nothing = cast(Any, None)
    routes = {cast(Any, route).path for route in pages(nothing, nothing, "").routes}
    assert routes == set(PERMISSIONS), "a page was added or removed: declare who may see it, and test that"
