"""Names, units and packages: what is taken and what is not."""

import pytest

from central_mcp.manifest import CATEGORIES, check_project_name, check_server_name, units
from central_mcp.manifest.rules import check_source, parse_package


@pytest.mark.parametrize("name", ["a", "a1", "git", "git-x", "g_x", "0", "a" * 31])
def test_server_names_that_are_taken(name: str) -> None:
    assert check_server_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a__b", "a.b", "a" * 32, "ä", "a b", "a\n", "../a"])
def test_server_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a server's name"):
        check_server_name(name)


@pytest.mark.parametrize("name", ["P", "PROJECT_x", "0-x", "a" * 64])
def test_project_names_that_are_taken(name: str) -> None:
    assert check_project_name(name) == name


@pytest.mark.parametrize("name", ["", "_x", "-x", "a/b", "a.b", "a" * 65, "a\n", ".."])
def test_project_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a project's name"):
        check_project_name(name)


def test_categories_have_fifty_ports_each_that_do_not_overlap() -> None:
    ports = [port for ports in CATEGORIES.values() for port in ports]
    assert ports == list(range(3100, 3600))
    assert CATEGORIES["version-control"] == range(3300, 3350)


@pytest.mark.parametrize(
    ("text", "value"),
    [("512M", 512 << 20), ("1.5G", 3 << 29), ("64KiB", 65536), ("10 mb", 10 << 20), ("100", 100), (4096, 4096)],
)
def test_sizes(text: object, value: int) -> None:
    assert units.size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("60s", 60), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), (5, 5)],
)
def test_times(text: object, value: float) -> None:
    assert units.seconds(text) == value


@pytest.mark.parametrize("text", ["", "M", "-1M", "1 2", "1e9", "1P", True, None, [], "0x10", "512M\n; rm"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        units.size(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "10", "1y", "1s x", True, None])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        units.seconds(text)


def test_shares_and_factors() -> None:
    assert (units.share("1%"), units.share("0.5 %"), units.factor("2x"), units.factor("1.5 x")) == (0.01, 0.005, 2, 1.5)


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("pypi:mcp-server-git==2026.10.19", "mcp-server-git==2026.10.19"),
        ("pypi:a[b,c]==1.0rc1", "a[b,c]==1.0rc1"),
        ("pypi:a[c, b]==1!2.0.post1+local.1", "a[b,c]==1!2.0.post1+local.1"),
        ("npm:a@1.2.3", "a@1.2.3"),
        ("npm:@scope/a.b@1.2.3-beta.1", "@scope/a.b@1.2.3-beta.1"),
    ],
)
def test_packages_that_are_pinned(text: str, requirement: str) -> None:
    assert parse_package(text).requirement == requirement


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a==1", "pypi:", "pypi:a", "pypi:a=1", "pypi:a===1", "pypi:a==", "pypi:a==1.*", "pypi:a==1,<2",
        "pypi:a==1 --hash=x", "pypi:a==1; python_version<'3'", "pypi:a @ https://x/a.whl", "pypi:-r==1",
        "pypi:a[b;c]==1", "npm:a", "npm:a@", "npm:a@1", "npm:a@1.2", "npm:a@latest", "npm:a@>=1.0.0",
        "npm:a@npm:b@1.0.0", "npm:a@1.0.0 b", "npm:@a@1.0.0", "npm:../a@1.0.0", "npm:a@file:../x", "npm:.a@1.0.0",
        "oci:a@1.0.0", "pypi:a==1\n--index-url x",
    ],
)  # fmt: skip
def test_packages_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is no|are no"):
        parse_package(text)


@pytest.mark.parametrize(("text", "folder"), [("./a/b/", "a/b"), ("a", "a"), (".", "."), ("./", ".")])
def test_sources_that_are_taken(text: str, folder: str) -> None:
    assert check_source(text) == folder


@pytest.mark.parametrize("text", ["", "/a", "..", "a/../../b", "a\\b", ".git", "a/.git/b", "a\nb"])
def test_sources_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_source(text)
