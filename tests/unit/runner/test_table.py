"""A runner's table is taken whole, or refused naming server and field."""

import json
from pathlib import Path
from typing import Any

import pytest

from central_mcp.runner.table import TableError, read_table

GOOD: dict[str, Any] = {
    "id": "0123456789ab",
    "name": "git",
    "release": 12,
    "socket": "/run/c/s/0123456789ab.sock",
    "status": "/run/c/0123456789ab.status",
    "log": "/log/git.log",
    "argv": ["/bin/cat"],
    "cwd": "/",
    "env": {"PATH": "/bin"},
    "uids": [0],
    "grace_s": 5.0,
    "limits": {"files": 1024, "memory": 536870912, "processes": 32},
    "connections": 60,
}


def table(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"servers": rows}))
    return str(path)


def test_every_field_is_taken(tmp_path: Path) -> None:
    (entry,) = read_table(table(tmp_path, GOOD))
    assert {**{name: getattr(entry, name) for name in GOOD}, "limits": None} == {**GOOD, "limits": None}
    assert (entry.limits.files, entry.limits.memory, entry.limits.processes) == (1024, 536870912, 32)


def test_limits_that_are_not_given_are_none(tmp_path: Path) -> None:
    (entry,) = read_table(table(tmp_path, {**GOOD, "limits": {}}))
    assert (entry.limits.memory, entry.limits.processes) == (0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"argv": []}, "argv: is empty"),
        ({"argv": "ls"}, "argv: is a str"),
        ({"argv": ["a\0b"]}, "without NUL"),
        ({"env": {"A=B": "x"}}, "env: a name"),
        ({"env": {"A": 1}}, "argv and env"),
        ({"release": "12"}, "release: is a str"),
        ({"release": True}, "release: is a bool"),
        ({"socket": "/" + "x" * 100 + ".sock"}, "at most 100 bytes"),
        ({"log": "relative"}, "absolute"),
        ({"uids": ["root"]}, "uids"),
        ({"name": None}, "name: is missing"),
        ({"limits": {"memory": "512M"}}, "memory: is a str"),
    ],
)
def test_a_bad_field_is_named_with_its_server(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(TableError, match=r"table.json: servers\[1\]: ") as caught:
        read_table(table(tmp_path, GOOD, {**GOOD, **change}))
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"servers": []}', '{"servers": 1}', '{"servers": [{'])
def test_a_half_written_table_is_refused_naming_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(TableError, match=r"table\.json"):
        read_table(str(path))


def test_a_missing_table_is_refused_naming_the_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere.json: No such file"):
        read_table(str(tmp_path / "nowhere.json"))
