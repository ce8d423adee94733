"""Whatever a program's arguments and variables hold, supervisord reads exactly them; or the program is refused."""

import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest

from central_mcp.home import Home, Settings
from central_mcp.supervise import ConfigError, Program, render_main, render_programs
from central_mcp.supervise.configuration import MAIN, read_programs
from central_mcp.supervise.program import split_programs

AWKWARD = [
    "plain",
    "",
    "two words",
    "%(here)s",
    "100%",
    "%%",
    "a ;comment",
    "; # ;;",
    "#x",
    "'single'",
    '"double"',
    "back\\slash",
    "$HOME `id` $(id)",
    "[program:evil]",
    "ümlaut 😀",
    "a=b",
    "{x}",
]


def home_at(folder: Path) -> Home:
    home = Home(folder)
    for path in (home.etc / "programs", home.log, folder / "run" / "s", folder / "run" / "supervisor"):
        path.mkdir(parents=True)
    settings = Settings.model_validate({"run": str(folder / "run"), "playbooks": "/"})
    (home.etc / "settings.json").write_text(settings.model_dump_json())
    return home


def program(home: Home, **fields: Any) -> Program:
    return Program(**{"name": "git@12", "argv": ("/bin/true",), "category": "api", "log": home.log / "x.out", **fields})


def test_supervisord_reads_the_very_arguments_and_variables(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    variables = {f"V{n}": text for n, text in enumerate(AWKWARD)}
    text = render_programs([program(home, argv=("/bin/echo", *AWKWARD), env=variables)], "mark")
    (home.etc / MAIN).write_text(render_main(home))
    (home.etc / "programs" / "api.conf").write_text(text)

    (group,) = read_programs(home.etc / MAIN)
    (process,) = group.process_configs
    words = shlex.split(process.command)
    at = words.index("--") + 1
    assert (group.name, process.name) == ("git@12", "0")
    assert ["/bin/echo", *AWKWARD] == words[at:]
    assert {**variables, "CENTRAL_KEEPER": "mark"} == dict(word.split("=", 1) for word in words[2 : at - 4])
    assert process.autorestart is True or process.autorestart.__name__ == "RestartUnconditionally"


def test_a_home_with_a_percent_sign_is_read_back() -> None:
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as short:  # socket paths have a limit
        home = home_at(Path(short) / "100% mine")
        (home.etc / MAIN).write_text(render_main(home))
        assert read_programs(home.etc / MAIN) == []


def test_sections_are_split_as_they_were_joined(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    text = render_programs([program(home, name="b", argv=("/x", "[program:evil]")), program(home, name="a@1")])
    sections = split_programs(text)
    assert list(sections) == ["a@1", "b"]
    assert text == "".join(sections.values())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "git\n[program:evil]"}, "name"),
        ({"name": "git 1"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": "%s"}, "name"),
        ({"name": ""}, "name"),
        ({"category": "../../x"}, "category"),
        ({"argv": ()}, "argv is empty"),
        ({"argv": ("/bin/echo", "a\nuser=root")}, "control character"),
        ({"argv": ("/bin/echo", "a\u2028b")}, "control character"),
        ({"argv": ("/bin/echo", "a\x85b")}, "control character"),
        ({"env": {"A": "x\ry"}}, "variable A"),
        ({"env": {"A B": "x"}}, "no name of a variable"),
        ({"env": {"A\n": "x"}}, "no name of a variable"),
        ({"user": "root\nx=y"}, "no name of a user"),
        ({"log": Path("/tmp/a ;b")}, "log"),
        ({"log": Path("/tmp/%d")}, "log"),
        ({"log": Path("relative")}, "log"),
        ({"count": 0}, "count"),
    ],
)
def test_what_cannot_be_said_safely_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    home = home_at(tmp_path)
    with pytest.raises(ConfigError) as caught:
        render_programs([program(home, **fields)])
    assert said in str(caught.value)


def test_a_socket_path_that_the_kernel_would_refuse_is_refused_first(tmp_path: Path) -> None:
    home = home_at(tmp_path / ("x" * 90))
    with pytest.raises(ConfigError, match="shorter CENTRAL_RUN"):
        render_main(home)


@pytest.mark.parametrize("name", ["a[b]", "a*", "a ;b", "a #b"])
def test_a_home_whose_path_supervisord_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        render_main(home_at(tmp_path / name))
