"""`central` as a user meets it: words, JSON, exit codes, and what to do next."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from central_mcp.cli import doctor
from central_mcp.cli.main import main
from central_mcp.cli.status import STAGES
from central_mcp.engine.client import user
from central_mcp.home import Home
from central_mcp.rollout.states import TERMINAL, Stage

from .conftest import Answers, FakeEngine

Engine = Callable[[Answers], FakeEngine]
Central = Callable[..., tuple[int, str, str]]

STATUS: dict[str, Any] = {
    "home": "/srv/x",
    "version": "0.1.0",
    "projects": [
        {
            "name": "PROJECT_fleet",
            "commit": "1234567890abcdef",
            "release": 3,
            "subject": "notes: search",
            "refused": {"commit": "feedfacecafe", "why": "notes: start: exited with code 1", "at": 0},
            "rollout": None,
        }
    ],
    "servers": [
        {
            "name": "git",
            "project": "PROJECT_fleet",
            "category": "version-control",
            "port": 3300,
            "release": 3,
            "state": "serving",
            "tools": 12,
        }
    ],
    "programs": [{"name": "router", "state": "RUNNING", "pid": 7}],
}


@pytest.fixture
def central(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Central:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["central", *arguments])
        try:
            main()
            code: Any = 0
        except SystemExit as exc:
            code = exc.code
        captured = capsys.readouterr()
        return int(code or 0), captured.out, captured.err

    return run


COMMANDS = (
    *("up", "down", "init", "plan", "deploy", "releases", "rollback", "status", "logs", "watch", "doctor", "connect"),
    *("schema", "version", "project create", "project list", "key create", "key list", "key revoke"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(central: Central, command: str) -> None:
    code, out, _ = central(*command.split(), "--help")
    assert code == 0
    assert f"central {command}" in out.split("Example:")[1]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"logs", "schema"}))
def test_each_command_can_answer_in_json(central: Central, command: str) -> None:
    assert "--json" in central(*command.split(), "--help")[1]


def test_the_help_says_what_the_exit_codes_mean(central: Central) -> None:
    assert "0 done; 1 refused or failed; 2 wrong usage; 3 no cloud answers" in central("--help")[1]


def test_a_wrong_word_is_wrong_usage(central: Central) -> None:
    assert central("depoly")[0] == 2
    assert central("connect", "--client", "emacs")[0] == 2


def test_no_cloud_is_exit_3_and_says_what_to_do(central: Central, home: Home) -> None:
    code, out, err = central("status")
    assert (code, out) == (3, "")
    assert err.startswith("error: the engine does not answer on")
    assert "next:  start the cloud (`make up`)" in err


def test_no_home_is_exit_3_too(central: Central, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CENTRAL_HOME", str(tmp_path / "none"))
    code, _, err = central("status")
    assert code == 3
    assert f"{tmp_path}/none/etc/settings.json: No such file" in err
    assert "next:  make up" in err


def test_an_error_in_json_holds_the_same(central: Central, home: Home) -> None:
    code, out, err = central("status", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out)["error"]["exit"] == 3


def test_status_says_what_serves_and_what_was_refused_and_why(central: Central, engine: Engine) -> None:
    engine({"status": [{"done": STATUS}]})
    code, out, _ = central("status")
    assert code == 0
    assert "PROJECT_fleet: v3 serves, commit 1234567 notes: search" in out
    assert "commit feedfac: notes: start: exited with code 1" in out
    assert "git   PROJECT_fleet  version-control  3300  3        serving  12" in out


@pytest.mark.parametrize("stage", sorted(set(Stage) - TERMINAL))
def test_status_says_what_a_rollout_does_in_a_users_words(central: Central, engine: Engine, stage: Stage) -> None:
    rollout = {"id": 7, "who": "zoë", "since": time.time() - 130, "stage": str(stage), "commit": "abcdef1234"}
    project = {**STATUS["projects"][0], "rollout": rollout}
    engine({"status": [{"done": {**STATUS, "projects": [project]}}]})
    line = next(line for line in central("status")[1].splitlines() if "abcdef1" in line)
    assert line == f"  {STAGES[str(stage)].format('abcdef1')} (by zoë, began 2 min ago)"


def test_status_in_json_is_the_engines_answer(central: Central, engine: Engine) -> None:
    engine({"status": [{"done": STATUS}]})
    assert json.loads(central("status", "--json")[1]) == STATUS


def test_watch_ends_after_the_readings_asked_for(central: Central, engine: Engine) -> None:
    fake = engine({"status": [{"done": STATUS}]})
    assert central("watch", "--count", "2", "--every", "0.2")[0] == 0
    assert len(fake.asked) == 2


def test_a_project_is_made_and_its_remote_printed(central: Central, engine: Engine) -> None:
    made = {"path": "/h h/git/PROJECT_a.git", "remote": "/h h/git/PROJECT_a.git", "created": True}
    fake = engine({"project.create": [{"done": made}]})
    code, out, _ = central("project", "create", "PROJECT_a")
    assert (code, fake.asked) == (0, [{"do": "project.create", "name": "PROJECT_a"}])
    assert "git remote add central '/h h/git/PROJECT_a.git' && git push central HEAD:main" in out


def test_the_cloud_refuses_with_its_hint(central: Central, engine: Engine) -> None:
    error = {"code": "taken", "message": "server git: belongs to PROJECT_b", "hint": "rename it with `as:`"}
    engine({"project.create": [{"error": error}]})
    assert central("project", "create", "PROJECT_a") == (
        1,
        "",
        "error: server git: belongs to PROJECT_b\nnext:  rename it with `as:`\n",
    )


def test_without_a_project_the_only_one_is_meant_and_of_two_none(central: Central, engine: Engine) -> None:
    one = {"name": "PROJECT_a", "release": 1}
    answers: Answers = {"project.list": [{"done": {"projects": [one]}}], "releases": [{"done": {"releases": []}}]}
    fake = engine(answers)
    assert central("releases")[0] == 0
    assert fake.asked[-1] == {"do": "releases", "project": "PROJECT_a"}
    answers["project.list"] = [{"done": {"projects": [one, {"name": "PROJECT_b"}]}}]
    code, _, err = central("releases")
    assert code == 2
    assert "there are 2 (PROJECT_a, PROJECT_b)" in err


def test_deploy_tells_each_server_and_ends_with_the_table(central: Central, engine: Engine) -> None:
    server = {"name": "git", "category": "version-control", "port": 3300, "release": 4, "tools": 12, "seconds": 1.2}
    done = {"outcome": "deployed", "release": 4, "seconds": 3.0, "commit": "abcdef123456", "servers": [server]}
    server["change"] = "changed"
    fake = engine(
        {
            "deploy": [
                {"event": {"type": "server", "server": "git", "stage": "gate", "seconds": 1.0, "detail": "12 tools"}},
                {"event": {"type": "live", "seconds": 2.5}},
                {"event": {"type": "done", **done}},
                {"done": done},
            ]
        }
    )
    code, out, _ = central("deploy", "abc", "--project", "PROJECT_fleet", "-o", "detach")
    assert code == 0
    assert fake.asked[0]["commit"] == "abc"
    assert fake.asked[0]["options"] == ["detach"]
    assert "git passed the gate  1.0 s  12 tools" in out
    assert "version-control  :3300  v4" in out
    assert out.endswith("v4 serves commit abcdef1 (3.0 s)\n")


def test_a_failed_deploy_is_exit_1_with_server_stage_cause_and_log(central: Central, engine: Engine) -> None:
    failed = {
        "type": "failed",
        "server": "git",
        "stage": "start",
        "cause": "exited with code 1",
        "log": ["Traceback", "ImportError: x"],
        "hint": "mend it",
    }
    engine({"deploy": [{"event": failed}, {"done": {"outcome": "refused", "release": None}}]})
    code, out, err = central("deploy", "abc", "--project", "PROJECT_fleet")
    assert code == 1
    assert "    | ImportError: x" in out
    assert err == "error: git: start: exited with code 1\nnext:  mend it\n"


@pytest.mark.parametrize(("given", "asked"), [("v12", 12), ("12", 12)])
def test_a_release_is_named_with_or_without_its_v(central: Central, engine: Engine, given: str, asked: int) -> None:
    fake = engine({"rollback": [{"done": {"outcome": "rolled-back", "release": 13, "seconds": 0.5}}]})
    assert central("rollback", given, "--project", "PROJECT_a")[0] == 0
    assert fake.asked[0]["release"] == asked


def test_what_is_no_release_is_wrong_usage(central: Central, home: Home) -> None:
    assert central("rollback", "latest", "--project", "PROJECT_a")[0] == 2


def test_keys_are_made_listed_and_revoked(central: Central, engine: Engine) -> None:
    engine(
        {
            "key.create": [{"done": {"id": "4f", "key": "cmk_4f_secret"}}],
            "key.list": [{"done": {"keys": [{"id": "4f", "project": "PROJECT_a", "name": "ci", "created": 1.0}]}}],
            "key.revoke": [{"done": {}}],
        }
    )
    assert central("key", "create", "--project", "PROJECT_a")[1] == "cmk_4f_secret\n"
    assert "4f  PROJECT_a  ci" in central("key", "list")[1]
    assert central("key", "revoke", "4f")[1] == "4f: revoked\n"


def test_connect_writes_the_entry_and_keeps_the_key_in_a_private_file(
    central: Central, engine: Engine, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[dict[str, Any]] = []
    answers: Answers = {
        "key.list": [{"done": {"keys": keys}}],
        "key.create": [{"done": {"id": "4f", "key": "cmk_4f_secret"}}],
    }
    fake = engine(answers)
    monkeypatch.chdir(tmp_path)
    code, out, _ = central("connect", "--client", "claude", "--project", "PROJECT_a")
    assert code == 0
    entry = json.loads((tmp_path / ".mcp.json").read_text())["mcpServers"]["central-provider"]
    key = home.keys / "PROJECT_a"
    assert entry["env"]["API_KEY"] == f"file:{key}"
    assert Path(entry["command"]).is_absolute()
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("cmk_4f_secret\n", 0o600)
    assert "cmk_4f_secret" not in out
    keys.append({"id": "4f", "project": "PROJECT_a"})
    assert "has already" in central("connect", "--client", "claude", "--project", "PROJECT_a")[1]
    assert [request["do"] for request in fake.asked].count("key.create") == 1


def test_init_writes_a_manifest_that_plan_accepts_without_a_cloud(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CENTRAL_HOME", str(tmp_path / "none"))
    assert central("init", "PROJECT_new")[0] == 0
    code, _, err = central("init", "PROJECT_new")
    assert (code, err.splitlines()[0]) == (1, "error: central.yml: is there already")
    code, out, _ = central("plan")
    assert code == 0
    assert out.startswith("PROJECT_new: central.yml is sound")
    assert "not compared with what serves" in out


def test_plan_shows_every_mistake_with_its_line(
    central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "central.yml").write_text(
        "central: 1\nproject: PROJECT_x\nservers:\n  git:\n    user: sqlite\n    port: 1\n"
    )
    code, _, err = central("plan")
    assert code == 1
    assert "central.yml:5" in err
    assert "central.yml:6" in err


def test_a_folder_without_a_manifest_is_told(central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = central("plan")
    assert code == 1
    assert "central.yml: missing\nnext:  central init writes one" in err


def test_logs_shows_the_end_of_a_servers_log(central: Central, home: Home) -> None:
    (home.log / "servers" / "git.log").write_text("".join(f"line {i}\n" for i in range(100)))
    assert central("logs", "git", "-n", "2")[1] == "line 98\nline 99\n"
    code, _, err = central("logs", "gti")
    assert code == 1
    assert "there are: git" in err


def test_a_server_that_wrote_nothing_is_not_an_unknown_one(central: Central, engine: Engine) -> None:
    engine({"status": [{"done": STATUS}]})
    assert central("logs", "git") == (0, "", "git has written nothing yet\n")
    code, _, err = central("logs", "gti")
    assert code == 1
    assert err.startswith("error: gti: no log in ")


def test_the_schema_is_json(central: Central) -> None:
    assert json.loads(central("schema")[1])["type"] == "object"


def test_doctor_says_that_nothing_is_isolated_here_and_that_the_engine_is_down(central: Central, home: Home) -> None:
    code, out, _ = central("doctor")
    assert code == 1
    assert "isolation    note" in out
    assert "engine       wrong" in out


def test_doctor_tells_what_the_coordinator_lacks(
    central: Central, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine({"doctor": [{"done": {"findings": []}}]})
    idle = {"what": "servers", "why": "no release serves", "count": 1, "servers": ["git"]}
    ports = {"what": "ports", "why": "1 cannot be listened on", "ports": {"3350": "port 3350: taken"}}
    monkeypatch.setattr(doctor, "asked", lambda url: {"ready": True, "not_ready": [idle, ports]})
    findings = {f["what"]: f for f in json.loads(central("doctor", "--json")[1])}
    assert findings["servers"]["told"] == "no release serves: git"
    assert (findings["ports"]["state"], findings["ports"]["told"]) == ("wrong", "port 3350: taken")


def test_a_rollout_that_is_not_waited_for_goes_on(
    central: Central, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("central_mcp.cli.cloud.Cloud.stream", interrupted)
    code, _, err = central("rollback", "--project", "PROJECT_a")
    assert code == 130
    assert err == "error: rollback: not waited for; it goes on in the cloud\nnext:  central status\n"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    assert user() == "uid-4711"
