"""The include files change whole or not at all, and what did not change stays byte for byte."""

import resource
from pathlib import Path
from typing import Any

import pytest

from central_mcp.home import Home
from central_mcp.supervise import ConfigError, Configuration, Program, render_main, validate
from central_mcp.supervise.configuration import MAIN
from tests.unit.supervise.test_program import home_at


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_at(tmp_path)
    (home.etc / MAIN).write_text(render_main(home))
    return home


def program(home: Home, name: str, category: str = "api", **fields: Any) -> Program:
    return Program(**{"name": name, "argv": ("/bin/true",), "category": category, "log": home.log / "x", **fields})


def tree(home: Home) -> dict[str, bytes]:
    return {str(path.relative_to(home.etc)): path.read_bytes() for path in home.etc.rglob("*") if path.is_file()}


def test_a_put_writes_one_file_a_category(home: Home) -> None:
    assert Configuration(home).put([program(home, "a@1"), program(home, "b@1"), program(home, "c@1", "iot")])
    assert sorted(path.name for path in (home.etc / "programs").iterdir()) == ["api.conf", "iot.conf"]
    assert Configuration(home).names() == {"a@1": "api", "b@1": "api", "c@1": "iot"}
    validate(home.etc / MAIN)


def test_a_put_leaves_the_others_byte_for_byte(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1"), program(home, "c@1", "iot")])
    before = tree(home)
    inode = (home.etc / "programs" / "iot.conf").stat().st_ino
    configuration.put([program(home, "b@1")])
    assert before["programs/iot.conf"] == tree(home)["programs/iot.conf"]
    assert inode == (home.etc / "programs" / "iot.conf").stat().st_ino
    assert tree(home)["programs/api.conf"].startswith(before["programs/api.conf"])


def test_the_same_again_changes_nothing(home: Home) -> None:
    configuration = Configuration(home)
    assert configuration.put([program(home, "a@1")])
    assert not configuration.put([program(home, "a@1")])
    assert configuration.render([program(home, "a@1")]) == (home.etc / "programs" / "api.conf").read_text()


def test_what_is_removed_leaves_no_file_behind(home: Home) -> None:
    configuration = Configuration(home)
    before = tree(home)
    configuration.put([program(home, "a@1")])
    assert configuration.remove(["a@1", "unknown"])
    assert not configuration.remove(["a@1"])
    assert before == {name: data for name, data in tree(home).items() if name != "programs.lock"}


def test_a_program_moves_to_another_category(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1"), program(home, "b@1")])
    configuration.put([program(home, "a@1", "iot")])
    assert configuration.names() == {"a@1": "iot", "b@1": "api"}


def test_replace_keeps_only_what_is_named(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "engine", "core"), program(home, "a@1"), program(home, "b@1", "iot")])
    configuration.replace([program(home, "a@2")], keep=["core"])
    assert configuration.names() == {"engine": "core", "a@2": "api"}


def test_a_program_that_supervisord_would_refuse_changes_nothing(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1")])
    before = tree(home)
    with pytest.raises(ConfigError) as caught:
        configuration.put([program(home, "b@1"), program(home, "c@1", "iot", user="no-such-user")])
    assert before == tree(home)
    assert (home.etc / "programs" / "iot.conf", "program:c@1") == (caught.value.file, caught.value.section)
    assert "no-such-user" in caught.value.reason


def test_a_full_disk_changes_nothing(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1")])
    before = tree(home)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["programs/api.conf"]) + 200, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            configuration.put([program(home, "b@1"), program(home, "c@1", "iot")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert before == tree(home)


def test_a_half_written_include_file_is_named(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1"), program(home, "c@1", "iot")])
    path = home.etc / "programs" / "iot.conf"
    path.write_text("[program:c@1]\nproce")
    with pytest.raises(ConfigError) as caught:
        configuration.put([program(home, "b@1")])
    assert path == caught.value.file
    configuration.replace([program(home, "a@1"), program(home, "c@1", "iot")])
    validate(home.etc / MAIN)


def test_two_sections_of_one_name_are_refused(home: Home) -> None:
    configuration = Configuration(home)
    configuration.put([program(home, "a@1")])
    (home.etc / "programs" / "iot.conf").write_text((home.etc / "programs" / "api.conf").read_text())
    with pytest.raises(ConfigError, match="is also in"):
        validate(home.etc / MAIN)


def test_what_a_killed_writer_left_is_cleared(home: Home) -> None:
    stale = home.etc / ".staged-xyz" / "programs"
    stale.mkdir(parents=True)
    (stale / "api.conf").write_text("half")
    Configuration(home).put([program(home, "a@1")])
    assert not stale.parent.exists()


def test_a_thousand_programs_are_put(home: Home) -> None:
    categories = [f"c{n}" for n in range(9)]
    programs = [program(home, f"server-{n}@1", categories[n % 9]) for n in range(1000)]
    assert Configuration(home).put(programs)
    assert len(Configuration(home).names()) == 1000
