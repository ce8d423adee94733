"""One cloud for all tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from .cloud import PLAIN, SDK2, Cloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    with Cloud() as made:
        made.serve("plain")
        made.serve("both", eras=("legacy", "modern"), argv=[*PLAIN, "both"])
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "fail", "work")]
        made.serve("sdk", SDK2, tools=tools, eras=("legacy", "modern"), sessions="per-principal")
        yield made.start()
