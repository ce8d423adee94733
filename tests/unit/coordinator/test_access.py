"""Who may come in: Host, Origin, key and project."""

import hashlib

import pytest

from central_mcp.coordinator.access import Access, Forbidden
from central_mcp.coordinator.endpoints import server_at
from central_mcp.protocol.errors import Unauthorized
from central_mcp.registry import Key

TEXT = "cmk_k1_sec_ret"
KEYS = {"k1": Key("k1", hashlib.sha256(TEXT.encode()).hexdigest(), "PROJECT_one")}


def access(host: str = "127.0.0.1", *allowed: str) -> Access:
    made = Access(host, allowed)
    made.update(KEYS)
    return made


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:3000",
        "localhost",
        "LOCALHOST:3000",
        "localhost.",
        "[::1]:3000",
        "[::1]",
        "127.0.0.5",
        "mcp.example:3000",
    ],
)
@pytest.mark.parametrize("origin", [None, "http://localhost:5173", "https://mcp.example", "http://[::1]:1"])
def test_our_own_hosts_pass_with_and_without_our_own_origin(host: str, origin: str | None) -> None:
    access("127.0.0.1", "mcp.example").check_way([host], [origin] if origin else [])


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"], ["evil.example:3000"], ["localhost.evil.example"], [], ["localhost", "localhost"], [""],
        ["localhost:port"], ["a@localhost"], ["[::1"], ["[::1]x"], ["192.168.1.5"], ["0.0.0.0"], ["127.0.0.1:1:2"],
    ],
)  # fmt: skip
def test_a_foreign_or_malformed_host_is_forbidden_on_loopback(hosts: list[str]) -> None:
    with pytest.raises(Forbidden):
        access().check_way(hosts, [])


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil.example"], ["null"], [""], ["http://localhost", "http://localhost"], ["http://a@localhost"],
        ["file://localhost"], ["localhost"], ["http://localhost.evil.example"], ["http://[::1"], ["http://localhost/x"],
        ["http://192.168.1.5"], ["http://"],
    ],
)  # fmt: skip
def test_a_foreign_or_malformed_origin_is_forbidden(origins: list[str]) -> None:
    with pytest.raises(Forbidden):
        access().check_way(["localhost"], origins)


def test_beyond_loopback_addresses_pass_and_names_must_be_allowed() -> None:
    wide = access("0.0.0.0", "vm.example")
    for host in ("203.0.113.9:3000", "[2001:db8::1]:3000", "vm.example", "localhost"):
        wide.check_way([host], [])
    with pytest.raises(Forbidden, match=r"evil\.example"):
        wide.check_way(["evil.example"], [])


def test_a_key_is_known_by_either_header() -> None:
    assert access().identify([f"Bearer {TEXT}"], [], "", "c").principal == "PROJECT_one/k1"
    assert access().identify([f"bearer  {TEXT}"], [], "PROJECT_one", "").project == "PROJECT_one"
    assert access().identify([], [TEXT], "", "client-7").client == "client-7"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ([], []), ([""], []), (["Bearer"], []), (["Bearer cmk_k1_wrong"], []), (["Bearer cmk_k9_sec_ret"], []),
        ([f"Basic {TEXT}"], []), ([], [TEXT + "x"]), ([], ["k1"]), ([], [TEXT, TEXT]), (["Bearer x"], [TEXT]),
        ([f"Bearer {TEXT}", f"Bearer {TEXT}"], []), (["Bearer cmk__"], []), ([], ["cmk_k1_sec_r\udce9t"]), ([], ["é"]),
    ],
)  # fmt: skip
def test_without_a_valid_key_nobody_comes_in(authorization: list[str], api_key: list[str]) -> None:
    with pytest.raises(Unauthorized):
        access().identify(authorization, api_key, "", "")


def test_a_revoked_key_is_unknown() -> None:
    revoked = access()
    revoked.update({})
    with pytest.raises(Unauthorized):
        revoked.identify([], [TEXT], "", "")
    assert not revoked.knows("k1")


def test_a_key_of_another_project_is_told_whose_it_is() -> None:
    with pytest.raises(Forbidden, match=r"PROJECT_one.*PROJECT_two"):
        access().identify([], [TEXT], "PROJECT_two", "")


@pytest.mark.parametrize(
    ("path", "port", "server"),
    [
        ("/mcp", 3000, ""), ("/s/git/mcp", 3000, "git"), ("/s/a-b_c9/mcp", 3000, "a-b_c9"), ("/", 3000, None),
        ("/s/../mcp", 3000, None), ("/s//mcp", 3000, None), ("/s/Git/mcp", 3000, None), ("/mcp/", 3000, None),
        ("/s/git/mcp/x", 3000, None), ("/s/" + "a" * 32 + "/mcp", 3000, None), ("/health", 3000, None),
        ("/mcp", 3100, "git"), ("/", 3100, "git"), ("/s/git/mcp", 3100, "git"), ("/s/other/mcp", 3100, None),
    ],
)  # fmt: skip
def test_which_path_is_which_endpoint(path: str, port: int, server: str | None) -> None:
    assert server_at(path, port, {3100: "git"}) == server
