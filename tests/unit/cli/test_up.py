"""The parts of `central up`: a work tree that is made once, a failure in the module's words, a proof that is real."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from central_mcp.cli.errors import CliError
from central_mcp.cli.fleet import git, make_work_tree, push, set_remote
from central_mcp.cli.output import Steps, age
from central_mcp.cli.proof import prove
from central_mcp.cli.up import failure

BRIDGE = """\
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "b", "version": "1"}}
    elif message["method"] == "tools/list" and "cursor" not in message["params"]:
        needy = {"name": "a__needs", "inputSchema": {"type": "object", "required": ["x"]}}
        result = {"tools": [needy], "nextCursor": "2"}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": "b__free", "inputSchema": {"type": "object"}}]}
    else:
        text = f"{message['params']['name']} by {os.environ['PROJECT_NAME']}\\nsecond line"
        result = {"content": [{"type": "text", "text": text}], "isError": "broken" in sys.argv[0]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def bridge(tmp_path: Path, text: str, name: str = "bridge") -> dict[str, Any]:
    program = tmp_path / name
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    return {"command": str(program), "env": {"PROJECT_NAME": "PROJECT_a"}}


def test_the_work_tree_is_made_once_and_then_the_users(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    assert make_work_tree(folder, "live")
    assert git(folder, "status", "--porcelain", "--branch") == "## live"
    (folder / "mine.txt").write_text("mine")
    assert not make_work_tree(folder, "live")
    assert (folder / "mine.txt").read_text() == "mine"
    assert git(folder, "rev-list", "--count", "HEAD") == "1"


def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "letters.txt").write_text("dear")
    with pytest.raises(CliError, match="in the way, and not a git repository"):
        make_work_tree(folder, "main")
    assert (folder / "letters.txt").read_text() == "dear"


def test_the_remote_follows_a_home_that_moved(tmp_path: Path) -> None:
    make_work_tree(tmp_path / "fleet", "main")
    set_remote(tmp_path / "fleet", "/old.git")
    set_remote(tmp_path / "fleet", "/new.git")
    assert git(tmp_path / "fleet", "remote", "get-url", "central") == "/new.git"


def test_a_push_tells_gits_lines_and_its_refusal(tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    subprocess.run(["git", "-C", bare, "config", "receive.advertisePushOptions", "true"], check=True)
    hook = bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho git: start: exited with code 1\nexit 1\n")
    hook.chmod(0o755)
    make_work_tree(tmp_path / "fleet", "main")
    set_remote(tmp_path / "fleet", str(bare))
    lines: list[str] = []
    with pytest.raises(CliError, match="was refused"):
        push(tmp_path / "fleet", "main", lines.append)
    assert any("remote: git: start: exited with code 1" in line for line in lines)
    hook.unlink()
    push(tmp_path / "fleet", "main", lines.append)


def test_a_failed_task_is_told_in_its_modules_words() -> None:
    line = "fatal: [localhost]: FAILED! => " + json.dumps({"msg": "Task failed: Module failed: port 3000: taken"})
    assert failure(line) == "port 3000: taken"
    assert failure("fatal: what is this\n") == "fatal: what is this"


def test_the_proof_calls_a_wanted_tool_with_its_arguments(tmp_path: Path) -> None:
    proof = prove(bridge(tmp_path, BRIDGE), [("z__gone", {}), ("a__needs", {"x": 1})])
    assert str(proof) == "a__needs(x=1) -> a__needs by PROJECT_a second line"


def test_the_proof_finds_a_tool_that_needs_nothing(tmp_path: Path) -> None:
    assert prove(bridge(tmp_path, BRIDGE), []).tool == "b__free"


def test_a_tool_that_fails_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="b__free: b__free by PROJECT_a second line"):
        prove(bridge(tmp_path, BRIDGE, "broken"), [])


def test_a_bridge_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    dying = "import sys; sys.stdin.readline(); sys.exit('API_KEY: no such file')"
    with pytest.raises(CliError, match=r"ended before it answered initialize\n  \| API_KEY: no such file"):
        prove(bridge(tmp_path, dying), [])


def test_progress_without_a_terminal_is_one_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps()
    steps.start("build")
    steps.detail("not shown")
    steps.line("  a line")
    steps.done("5 servers")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "  a line"
    assert second.startswith("build: 5 servers (")


@pytest.mark.parametrize(("seconds", "told"), [(5, "5 s"), (90, "2 min"), (7200, "2 h"), (200000, "2 d")])
def test_ages_are_told_in_the_largest_unit_that_fits(seconds: float, told: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == told
