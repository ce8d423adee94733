"""`central connect` writes one entry into a client's file and loses nothing else of it."""

import json
from pathlib import Path

import pytest

from central_mcp.cli.connect import CLIENTS, ENTRY, entry, merged, write_entry
from central_mcp.cli.errors import CliError

VALUE = entry(Path("/x/bin/central-mcp-bridge"), "ws://127.0.0.1:3000/mcp", "PROJECT_a", "a-client", Path("/x/keys/a"))


def test_the_entry_holds_no_key_but_where_it_lies() -> None:
    assert VALUE == {
        "command": "/x/bin/central-mcp-bridge",
        "env": {
            "CENTRAL_MCP_URL": "ws://127.0.0.1:3000/mcp",
            "PROJECT_NAME": "PROJECT_a",
            "CLIENT_ID": "a-client",
            "API_KEY": "file:/x/keys/a",
        },
    }


@pytest.mark.parametrize(("client", "file"), [("claude", ".mcp.json"), ("cursor", ".cursor/mcp.json")])
def test_a_missing_file_is_made(tmp_path: Path, client: str, file: str) -> None:
    written, changed = write_entry(tmp_path, CLIENTS[client], ENTRY, VALUE)
    assert (written, changed) == (tmp_path / file, True)
    assert json.loads(written.read_text()) == {"mcpServers": {"central-provider": VALUE}}


def test_vscode_keeps_its_servers_under_its_own_key_with_a_type(tmp_path: Path) -> None:
    written, _ = write_entry(tmp_path, CLIENTS["vscode"], ENTRY, VALUE)
    assert written == tmp_path / ".vscode/mcp.json"
    assert json.loads(written.read_text()) == {"servers": {"central-provider": {"type": "stdio", **VALUE}}}


def test_other_entries_and_keys_stay_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text('{"zeta": 1, "mcpServers": {"other": {"command": "ü"}, "central-provider": {"command": "old"}}}')
    file.chmod(0o600)
    write_entry(tmp_path, CLIENTS["claude"], ENTRY, VALUE)
    document = json.loads(file.read_text())
    assert list(document) == ["zeta", "mcpServers"]
    assert document["mcpServers"] == {"other": {"command": "ü"}, "central-provider": VALUE}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    file, _ = write_entry(tmp_path, CLIENTS["claude"], ENTRY, VALUE)
    before = file.stat().st_mtime_ns
    assert write_entry(tmp_path, CLIENTS["claude"], ENTRY, VALUE) == (file, False)
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ['{"mcpServers": {}, // mine\n}', "[]", '{"mcpServers": []}', "{"])
def test_what_cannot_be_merged_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".mcp.json"
    file.write_text(text)
    with pytest.raises(CliError, match=r"\.mcp\.json: .* left as it is") as caught:
        write_entry(tmp_path, CLIENTS["claude"], ENTRY, VALUE)
    assert "--client print" in caught.value.next_step
    assert file.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [".mcp.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / ".mcp.json").symlink_to(tmp_path / "dotfiles" / "mcp.json")
    write_entry(tmp_path, CLIENTS["claude"], ENTRY, VALUE)
    assert (tmp_path / ".mcp.json").is_symlink()
    assert "central-provider" in (tmp_path / "dotfiles" / "mcp.json").read_text()


def test_an_empty_file_counts_as_none() -> None:
    assert json.loads(merged(" \n", CLIENTS["claude"], ENTRY, VALUE, Path("f")))["mcpServers"] == {ENTRY: VALUE}
