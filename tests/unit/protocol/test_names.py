"""Names in the aggregate."""

import re

from central_mcp.protocol.names import MAX_NAME, exposed_name, exposed_names


def test_a_name_that_fits_is_server_and_tool() -> None:
    assert exposed_name("git", "git_status") == "git__git_status"


def test_a_long_name_is_shortened_the_same_way_every_time() -> None:
    name = exposed_name("git", "a" * 100)
    assert name == exposed_name("git", "a" * 100)
    assert len(name) == MAX_NAME
    assert name != exposed_name("git", "a" * 101)


def test_characters_that_model_apis_refuse_are_replaced_and_marked() -> None:
    dotted, dashed = exposed_name("git", "a.b"), exposed_name("git", "a/b")
    assert re.fullmatch(r"git__a_b_[a-z2-7]{10}", dotted)
    assert dotted != dashed != exposed_name("git", "a_b")


def test_twenty_thousand_names_do_not_collide_and_fit_every_api() -> None:
    servers = [f"server-{number}" for number in range(99)] + ["a" * 31]
    tools = [f"tool_{number}" for number in range(100)] + [f"a.very/long tool name, number {n}" * 2 for n in range(100)]
    names = [name for server in servers for name in exposed_names(server, tools)]
    assert len(set(names)) == len(names) == 20_000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) for name in names)


def test_the_index_leads_back_to_the_tool() -> None:
    tools = ["plain", "dot.ted", "x" * 128]
    names = exposed_names("git", tools)
    assert sorted(names.values()) == sorted(tools)
    assert all(exposed_name("git", tool) == name for name, tool in names.items())


def test_a_tool_named_like_a_shortened_one_keeps_its_name() -> None:
    stolen = exposed_name("git", "a.b").removeprefix("git__")
    names = exposed_names("git", ["a.b", stolen])
    assert names[f"git__{stolen}"] == stolen
    assert len(names) == 2


def test_a_name_does_not_depend_on_the_other_tools() -> None:
    assert exposed_names("git", ["a.b"]).items() <= exposed_names("git", ["z", "a.b", "c" * 90]).items()
