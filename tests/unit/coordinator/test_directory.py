"""The front door's view of the snapshot: pages, names, and what changed."""

from pathlib import Path
from typing import Any

import msgspec

from central_mcp.coordinator import directory as module
from central_mcp.coordinator.directory import Change, Directory, capabilities_of
from central_mcp.registry import Release, Replica, Server, Snapshot, write_tools

TOOLS = "notifications/tools/list_changed"


def server(registry: Path, name: str, tools: list[str], number: int = 1, **fields: Any) -> Server:
    sha = write_tools(registry, [{"name": tool, "inputSchema": {"$defs": {}}} for tool in tools])
    release = Release(number, "serving", Replica("unix:/x.sock"), tools=sha, **fields)
    return Server(name, "p", "dev-tools", 3350, releases=(release,))


def snapshot(version: int, *servers: Server) -> Snapshot:
    return Snapshot(version, servers={server.name: server for server in servers})


def names(directory: Directory, era: str = "legacy") -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        raw, after = directory.page(after, era)
        found += [tool["name"] for tool in msgspec.json.decode(raw)]
        if not after:
            return found


def test_tools_are_listed_in_one_stable_order_under_their_exposed_names(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.update(snapshot(1, server(tmp_path, "b", ["y", "x"]), server(tmp_path, "a", ["z"])))
    assert names(directory) == ["a__z", "b__x", "b__y"]
    assert directory.index["b__x"].own == msgspec.Raw(b'"x"')
    [tool, *_] = msgspec.json.decode(directory.page("", "modern")[0])
    assert tool == {"name": "a__z", "inputSchema": {"$defs": {}}}


def test_pages_hold_every_tool_once(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "PAGE_TOOLS", 7)
    directory = Directory(tmp_path)
    directory.update(snapshot(1, *(server(tmp_path, f"s{n}", [f"t{m}" for m in range(10)]) for n in range(3))))
    assert len(directory.page("", "legacy")[1]) > 0
    assert names(directory) == sorted(directory.index)


def test_a_page_that_exactly_ends_the_list_has_no_next(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "PAGE_TOOLS", 2)
    directory = Directory(tmp_path)
    directory.update(snapshot(1, server(tmp_path, "a", ["x", "y"])))
    assert directory.page("", "legacy")[1] == ""


def test_only_what_changed_is_told(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    first, second = server(tmp_path, "a", ["x"]), server(tmp_path, "b", ["x"])
    assert set(directory.update(snapshot(1, first, second))) == {Change("a", TOOLS), Change("b", TOOLS)}
    assert directory.update(snapshot(2, first, second)) == []
    assert directory.update(snapshot(3, server(tmp_path, "a", ["x"], 2), second)) == []
    assert directory.update(snapshot(4, server(tmp_path, "a", ["x", "y"], 3), second)) == [Change("a", TOOLS)]
    assert directory.update(snapshot(5, second)) == [Change("a", TOOLS)]
    assert names(directory) == ["b__x"]


def test_a_new_release_of_a_server_with_prompts_tells_of_prompts(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.update(snapshot(1, server(tmp_path, "a", ["x"], 1, capabilities={"tools": {}, "prompts": {}})))
    changes = directory.update(snapshot(2, server(tmp_path, "a", ["x"], 2, capabilities={"tools": {}, "prompts": {}})))
    assert changes == [Change("a", "notifications/prompts/list_changed")]


def test_a_tool_list_that_cannot_be_read_harms_only_its_server(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    broken = server(tmp_path, "broken", ["x"])
    for file in (tmp_path / "tools").iterdir():
        file.write_text("{")
    directory.update(snapshot(1, broken, server(tmp_path, "fine", ["y"])))
    assert names(directory) == ["fine__y"]
    assert "tool list" in directory.entries["broken"].problem


def test_a_staged_release_is_not_listed(tmp_path: Path) -> None:
    made = server(tmp_path, "a", ["x"])
    staged = msgspec.structs.replace(made, releases=(msgspec.structs.replace(made.releases[0], state="staged"),))
    directory = Directory(tmp_path)
    directory.update(snapshot(1, staged))
    assert names(directory) == []
    assert directory.entries["a"].release is None


def test_an_endpoint_advertises_what_it_relays() -> None:
    own = {"tools": {}, "resources": {"subscribe": True}, "logging": {}, "tasks": {}, "completions": {}}
    shared = Release(1, "serving", Replica("unix:/x"), capabilities=own, sessions="shared")
    assert capabilities_of(shared) == {
        "tools": {"listChanged": True}, "resources": {"listChanged": True}, "completions": {}
    }  # fmt: skip
    assert "logging" in capabilities_of(msgspec.structs.replace(shared, sessions="per-principal"))


def test_a_servers_own_new_list_holds_until_its_next_release(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    made = server(tmp_path, "a", ["x"])
    directory.update(snapshot(1, made))
    directory.relist("a", [msgspec.Raw(b'{"name":"new"}')])
    assert names(directory) == ["a__new"]
    directory.update(snapshot(2, made, server(tmp_path, "b", ["y"])))
    assert names(directory) == ["a__new", "b__y"]
    directory.relist("a", [msgspec.Raw(b"5")])
    directory.relist("nobody", [])
    assert names(directory) == ["a__new", "b__y"]
    assert directory.update(snapshot(3, server(tmp_path, "a", ["x"], 2))) != []
    assert names(directory) == ["a__x"]
