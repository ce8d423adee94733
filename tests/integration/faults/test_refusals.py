"""Pushes that must not deploy: git fails with words that help, the old release serves on, nothing is left."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.cloud import GIT_ENV, Cloud, Project
from tests.waiting import SECOND, wait_until

from .caller import Busy, Caller, busy_project, busy_server
from .census import Census, settled

MAX_FILE = 2 << 20
ZEROS = "0" * 40


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(gate=3.0 * SECOND, watch_first=0.2, max_push=MAX_FILE) as running:
        yield running


@pytest.fixture(scope="module")
def busy(cloud: Cloud) -> Busy:
    return busy_project(cloud)


@pytest.fixture(scope="module")
def caller(cloud: Cloud, busy: Busy) -> Iterator[Caller]:
    """Calls all the while that these tests push; the last of them looks at what became of the calls."""
    with Caller(cloud, busy) as calling:
        yield calling


@pytest.fixture
def project(cloud: Cloud, busy: Busy, caller: Caller) -> Iterator[Project]:
    """The project at what serves; put back there afterwards."""
    settled(cloud)
    head = busy.project.remote_head()
    yield busy.project
    busy.project.git("reset", "-q", "--hard", head)
    busy.project.git("clean", "-qfdx")


def manifest(project: Project, more: str) -> None:
    file = project.folder / "central.yml"
    file.write_text(file.read_text() + more)


def server(project: Project, *code: str) -> None:
    """alpha's source: what it says to each line `request`, after these lines."""
    start = "import json, sys\nprint('waking up', file=sys.stderr, flush=True)\n"
    project.write("alpha/server.py", start + "\n".join(code))


def wrong_ids(project: Project) -> None:
    server(
        project,
        "for line in sys.stdin:",
        "    print(json.dumps({'jsonrpc': '2.0', 'id': 'mine', 'result': {}}), flush=True)",
    )


def not_json_rpc(project: Project) -> None:
    server(
        project,
        "for line in sys.stdin:",
        "    print(json.dumps({'id': json.loads(line).get('id'), 'answer': 42}), flush=True)",
    )


def dies_after_initialize(project: Project) -> None:
    code = busy_server(project.cloud).replace(
        'elif method == "tools/list":', 'elif method == "tools/list":\n        die()'
    )
    project.write("alpha/server.py", code)


def tools_are_text(project: Project) -> None:
    project.write("alpha/server.py", busy_server(project.cloud).replace('{"tools": TOOLS}', '{"tools": "read, write"}'))


def same_tool_twice(project: Project) -> None:
    project.write("alpha/server.py", busy_server(project.cloud).replace('"name": "write"', '"name": "read"'))


def two_broken(project: Project) -> None:
    for name in ("alpha", "beta"):
        project.write(f"{name}/server.py", f"import sys\nsys.exit('{name} is broken')\n")


def many_problems(project: Project) -> None:
    lines = (
        "  Gamma:",
        "    category: toys",
        "    package: left-pad",
        "  delta:",
        "    category: api",
        "    colour: red",
    )
    manifest(project, "\n".join(lines) + "\n")


def no_npm_package(project: Project) -> None:
    manifest(project, "  ghost:\n    category: api\n    package: npm:central-mcp-no-such-package@1.0.0\n")


def no_pypi_version(project: Project) -> None:
    manifest(project, "  ghost:\n    category: api\n    package: pypi:six==0.0.77\n")


def no_manifest(project: Project) -> None:
    (project.folder / "central.yml").unlink()


def large_manifest(project: Project) -> None:
    manifest(project, "# a long story\n" * (1 << 17))


def linked_manifest(project: Project) -> None:
    (project.folder / "central.yml").rename(project.folder / "other.yml")
    os.symlink("other.yml", project.folder / "central.yml")


def manifest_is_no_yaml(project: Project) -> None:
    project.write("central.yml", "central: 1\nservers: {alpha: [\n")


def manifest_is_no_text(project: Project) -> None:
    (project.folder / "central.yml").write_bytes(b"\xff\xfe\0central")


def billion_laughs(project: Project) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    project.write("central.yml", "\n".join(lines) + "\n")


def other_project(project: Project) -> None:
    text = (project.folder / "central.yml").read_text()
    project.write("central.yml", text.replace(project.name, "PROJECT_other"))


def link_in_source(project: Project) -> None:
    """Inside the repository, so that git may store it; outside of the server's source."""
    os.symlink("../central.yml", project.folder / "alpha" / "link")


Breaking = Callable[[Project], None]
BROKEN: dict[Breaking, tuple[str, ...]] = {
    wrong_ids: ("alpha: gate", "| waking up"),
    not_json_rpc: ("alpha: gate", "| waking up"),
    dies_after_initialize: ("alpha: gate", "exited with code 1", "NameError"),
    tools_are_text: ("alpha: gate", "tools/list"),
    same_tool_twice: ("alpha: gate", "read", "twice"),
    two_broken: ("alpha: gate", "alpha is broken", "beta"),
    many_problems: ("plan", "Gamma", "toys", "colour", "npm:NAME@VERSION", "central.yml:"),
    no_npm_package: ("ghost: lock", "central-mcp-no-such-package", "does not exist"),
    no_pypi_version: ("ghost: lock", "six"),
    no_manifest: ("plan", "no central.yml", "central init"),
    large_manifest: ("plan", "central.yml has", "1048576"),
    linked_manifest: ("plan", "central.yml is no regular file"),
    manifest_is_no_yaml: ("plan", "central.yml:"),
    manifest_is_no_text: ("plan", "central.yml"),
    billion_laughs: ("plan", "central.yml"),
    other_project: ("plan", "PROJECT_other", "PROJECT_busy"),
    link_in_source: ("alpha", "link", "does not end inside"),
}


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda breaking: breaking.__name__)
def test_a_broken_push_names_its_cause_and_leaves_nothing(cloud: Cloud, project: Project, breaking: Breaking) -> None:
    head, before = project.remote_head(), Census(cloud)
    breaking(project)
    commit = project.commit(breaking.__name__)
    pushed = project.push()
    assert pushed.code == 1, pushed.output
    assert [word for word in BROKEN[breaking] if word not in pushed.output] == [], pushed.output
    assert "next: " in pushed.output
    assert "Traceback" not in pushed.output.replace("| Traceback", ""), pushed.output
    assert project.remote_head() == head
    before.holds()
    told = next(p for p in cloud.status()["projects"] if p["name"] == project.name)
    assert told["commit"] == head
    assert told["refused"]["commit"] == commit


def test_a_commit_refused_for_what_it_says_is_refused_again_the_same_way(cloud: Cloud, project: Project) -> None:
    before = Census(cloud)
    tools_are_text(project)
    project.commit("broken for good")
    told = [[line for line in project.push().output.splitlines() if "refused:" in line] for _ in range(2)]
    assert told[0] == told[1] != []
    before.holds()


def submodule(project: Project) -> None:
    (project.folder / ".gitmodules").write_text('[submodule "lib"]\n\tpath = lib\n\turl = https://host.invalid/lib\n')
    commit = project.git("rev-parse", "HEAD").strip()
    project.git("add", ".gitmodules")
    project.git("update-index", "--add", "--cacheinfo", f"160000,{commit},lib")
    project.git("commit", "-q", "-m", "with a submodule")


def large_file(project: Project) -> None:
    (project.folder / "model.bin").write_bytes(os.urandom(MAX_FILE + 1))
    project.commit("with a model")


def upward_link(project: Project) -> None:
    os.symlink("../../../etc/passwd", project.folder / "alpha" / "passwd")
    project.commit("with a link")


def control_character(project: Project) -> None:
    project.write("alpha/a\x1b[2Jb", "x")
    project.commit("with a strange name")


STRANGE: dict[Breaking, tuple[str, ...]] = {
    submodule: ("'lib' is a submodule",),
    large_file: ("'model.bin' has 2 MiB", "max_push"),
    upward_link: ("'alpha/passwd' is a link to", "leaves the repository"),
    control_character: ("control character",),
}


@pytest.mark.parametrize("branch", ["main", "idea", "tag"])
@pytest.mark.parametrize("making", STRANGE, ids=lambda making: making.__name__)
def test_what_must_not_be_stored_is_refused_on_every_ref(
    cloud: Cloud, project: Project, making: Breaking, branch: str
) -> None:
    head, before = project.remote_head(), project.git("ls-remote", "central")
    making(project)
    pushed = project.push(ref="HEAD:refs/tags/v1" if branch == "tag" else f"HEAD:refs/heads/{branch}")
    assert pushed.code == 1, pushed.output
    assert [word for word in STRANGE[making] if word not in pushed.output] == [], pushed.output
    assert "\x1b" not in pushed.output
    assert project.git("ls-remote", "central") == before
    assert project.remote_head() == head


def test_tags_and_branches_are_stored_and_deleted_and_deploy_nothing(cloud: Cloud, project: Project) -> None:
    before = Census(cloud)
    project.git("tag", "-a", "-m", "a tag", "v1.0")
    for ref in ("refs/tags/v1.0", "refs/heads/idea"):
        stored = project.push(ref=f"HEAD:{ref}")
        assert stored.code == 0, stored.output
        assert f"{ref} is stored, not deployed; a push to main deploys" in stored.output
        gone = project.push(ref=f":{ref}")
        assert gone.code == 0, gone.output
    before.holds()


def test_of_several_refs_each_gets_its_own_answer(cloud: Cloud, project: Project) -> None:
    head, before = project.remote_head(), Census(cloud)
    no_manifest(project)
    commit = project.commit("no manifest")
    pushed = push(project, "HEAD:refs/heads/main", "HEAD:refs/heads/side")
    assert pushed[0] == 1, pushed[1]
    assert "no central.yml" in pushed[1]
    assert project.remote_head() == head
    assert commit in project.git("ls-remote", "central", "refs/heads/side")
    project.push(ref=":refs/heads/side")
    before.holds()


def test_an_atomic_push_is_all_or_nothing(cloud: Cloud, project: Project) -> None:
    before = project.git("ls-remote", "central")
    no_manifest(project)
    project.commit("no manifest")
    code, told = push(project, "--atomic", "HEAD:refs/heads/main", "HEAD:refs/heads/side")
    assert code == 1, told
    assert project.git("ls-remote", "central") == before


def test_a_stale_old_value_is_refused_before_any_work(cloud: Cloud, project: Project) -> None:
    head, before = project.remote_head(), Census(cloud)
    project.write("alpha/server.py", busy_server(cloud, "stale"))
    commit = project.commit("stale")
    project.push(ref="HEAD:refs/heads/side")
    asked = {"project": project.name, "commit": commit, "ref": "refs/heads/main", "source": "push", "who": "tester"}
    for old in (commit, ZEROS, "1" * 40):
        done = cloud.ask("deploy", old=old, **asked)
        assert done["outcome"] == "refused"
        assert "by now, not at" in done["message"]
    project.push(ref=":refs/heads/side")
    assert project.remote_head() == head
    before.holds()


def test_a_forced_push_of_another_history_is_a_new_release(cloud: Cloud, project: Project) -> None:
    release = cloud.server("alpha")["release"]
    project.git("checkout", "-q", "--orphan", "other")
    project.write("alpha/server.py", busy_server(cloud, "rewritten"))
    commit = project.commit("another history")
    plain = project.push()
    assert plain.code == 1, plain.output
    assert "non-fast-forward" in plain.output or "fetch first" in plain.output
    code, told = push(project, "--force", "HEAD:refs/heads/main")
    project.git("checkout", "-q", "-B", "main")
    assert code == 0, told
    assert project.remote_head() == commit
    wait_until(lambda: cloud.server("alpha")["release"] > release, "the release to serve")


def test_the_caller_of_the_old_release_noticed_nothing_of_all_this(cloud: Cloud, caller: Caller) -> None:
    settled(cloud)
    caller.flows()
    assert caller.errors() == []
    assert {call.text.split()[0] for call in caller.calls.values()} <= {"one", "rewritten"}


def push(project: Project, *words: str) -> tuple[int, str]:
    """`git push` with options of git's own or several refs."""
    options = [word for word in words if word.startswith("-")]
    refs = [word for word in words if not word.startswith("-")]
    done = subprocess.run(
        ["git", "push", *options, "central", *refs],
        cwd=project.folder,
        env={**os.environ, **GIT_ENV, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120 * SECOND,
    )
    return done.returncode, done.stdout
