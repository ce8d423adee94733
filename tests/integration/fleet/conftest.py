"""One cloud with the example fleet for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests import site
from tests.cloud import Cloud

from .peers import Sdk1
from .pushed import Fleet, copy, extend, push


@pytest.fixture(scope="package")
def fleet() -> Iterator[Fleet]:
    with site.page() as page, Cloud.up() as cloud:
        project = cloud.project("PROJECT_fleet")
        copy(project)
        push(project, "detach")
        key = cloud.key(project.name)
        refused = cloud.call("fetch", "fetch", key, url=page)
        extend(project)
        push(project, "detach")
        yield Fleet(cloud, project, key, page, str(refused))


@pytest.fixture(scope="package")
def sdk1() -> Iterator[Sdk1]:
    with Sdk1() as peer:
        yield peer
