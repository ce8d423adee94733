"""git push deploys: through the real hooks, engine, playbook, supervisord, runner, router and coordinator."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from central_mcp import registry
from tests.cloud import BIN, ROOT, Cloud, Project, server_code
from tests.waiting import wait_until

from .files import everything


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud.up(gate=4.0, watch_first=0.3) as running:
        yield running


@pytest.fixture(scope="module")
def project(cloud: Cloud) -> Project:
    made = cloud.project("PROJECT_push", "alpha", "beta")
    first = made.push()
    assert first.code == 0, first.output
    assert "alpha passed the gate" in first.output
    assert "live after" in first.output
    return made


def serving(cloud: Cloud, name: str) -> int:
    found = cloud.server(name)
    assert found["state"] == "serving"
    return int(found["release"])


def settled(cloud: Cloud) -> None:
    """Wait until nothing is under way and every replaced release is gone."""
    wait_until(lambda: all(p["rollout"] is None for p in cloud.status()["projects"]), "rollouts to end")
    wait_until(lambda: not any(s["also"] for s in cloud.status()["servers"]), "old releases to retire")


def test_a_changed_line_gives_only_its_server_a_new_release(cloud: Cloud, project: Project) -> None:
    key = cloud.key(project.name)
    before = serving(cloud, "alpha"), serving(cloud, "beta")
    project.write("alpha/server.py", server_code("alpha", "two"))
    commit = project.commit("say two")
    pushed = project.push()
    assert pushed.code == 0, pushed.output
    assert "changed  alpha  (source changed)" in pushed.output
    assert serving(cloud, "alpha") > before[0]
    assert serving(cloud, "beta") == before[1]
    assert project.remote_head() == commit
    assert cloud.call("alpha", "echo", key)["content"][0]["text"] == "two"
    settled(cloud)


def test_a_push_that_changes_no_server_moves_the_branch_and_nothing_else(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    before = everything(cloud)
    project.write("README.md", "words\n")
    commit = project.commit("words")
    pushed = project.push()
    assert pushed.code == 0, pushed.output
    assert "nothing to deploy" in pushed.output
    assert project.remote_head() == commit
    assert everything(cloud) == before


def crash(project: Project) -> None:
    project.write("alpha/server.py", "import sys\nprint('looking', file=sys.stderr)\nsys.exit('no database here')\n")


def hang(project: Project) -> None:
    project.write("alpha/server.py", "import sys\nprint('thinking', file=sys.stderr, flush=True)\nsys.stdin.read()\n")


def bad_tools(project: Project) -> None:
    code = server_code("alpha").replace('"inputSchema": {"type": "object"}', '"inputSchema": 7')
    project.write("alpha/server.py", code)


def bad_manifest(project: Project) -> None:
    project.write("central.yml", (project.folder / "central.yml").read_text().replace("category:", "categorie:"))


def no_package(project: Project) -> None:
    text = "  ghost:\n    category: api\n    package: pypi:central-mcp-no-such-package==1.0\n"
    project.write("central.yml", (project.folder / "central.yml").read_text() + text)


def no_source(project: Project) -> None:
    text = "  ghost:\n    category: api\n    source: ./ghost\n    run: [python, server.py]\n"
    project.write("central.yml", (project.folder / "central.yml").read_text() + text)


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (crash, ("alpha: gate", "exited with code 1", "| looking", "| no database here")),
        (hang, ("alpha: gate", "within", "| thinking")),
        (bad_tools, ("alpha: gate", "tool 'echo'", "inputSchema")),
        (bad_manifest, ("plan", "central.yml:", "categorie", "category")),
        (no_package, ("ghost: lock", "central-mcp-no-such-package", "does not exist")),
        (no_source, ("ghost", "./ghost", "commit")),
    ],
)
def test_a_broken_push_is_refused_with_its_reason_and_leaves_nothing(
    cloud: Cloud, project: Project, breaking: Callable[[Project], None], words: tuple[str, ...]
) -> None:
    settled(cloud)
    head, before, served = project.remote_head(), everything(cloud), serving(cloud, "alpha")
    breaking(project)
    commit = project.commit("broken")
    try:
        pushed = project.push()
    finally:
        project.git("reset", "-q", "--hard", head)
    assert pushed.code == 1, pushed.output
    assert [word for word in words if word not in pushed.output] == [], pushed.output
    assert "[remote rejected]" in pushed.output
    assert project.remote_head() == head
    assert serving(cloud, "alpha") == served
    assert everything(cloud) == before
    refused = next(p for p in cloud.status()["projects"] if p["name"] == project.name)["refused"]
    assert refused["commit"] == commit


def test_the_commit_that_was_refused_can_be_pushed_again(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    flag = cloud.folder / "flag"
    check = f"import os, sys\nif not os.path.exists({str(flag)!r}): sys.exit('no flag')\n"
    project.write("alpha/server.py", check + server_code("alpha", "again"))
    commit = project.commit("needs a flag")
    assert project.push().code == 1
    flag.touch()
    pushed = project.push()
    assert pushed.code == 0, pushed.output
    assert project.remote_head() == commit
    settled(cloud)


def test_a_name_that_another_project_owns_is_refused_naming_the_owner(cloud: Cloud, project: Project) -> None:
    other = cloud.project("PROJECT_other", "alpha")
    before = everything(cloud)
    pushed = other.push()
    assert pushed.code == 1
    assert "the name belongs to project PROJECT_push" in pushed.output
    assert other.remote_head() == ""
    assert everything(cloud) == before


def test_a_removed_server_goes_and_its_name_keeps_its_port(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    project.declare("alpha", "beta", "gamma")
    project.commit("with gamma")
    assert project.push().code == 0
    port = cloud.server("gamma")["port"]
    project.declare("alpha", "beta")
    project.commit("without gamma")
    pushed = project.push()
    assert pushed.code == 0, pushed.output
    assert "removed  gamma" in pushed.output
    wait_until(lambda: not cloud.server("gamma"), "gamma to retire")
    project.declare("alpha", "beta", "gamma")
    project.commit("gamma again")
    assert project.push().code == 0
    assert cloud.server("gamma")["port"] == port
    settled(cloud)


def test_a_tool_list_gone_from_the_disk_comes_back_with_the_next_push(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    before = serving(cloud, "alpha")
    for path in (cloud.home.registry / "tools").iterdir():
        path.unlink()
    told = [finding["told"] for finding in cloud.ask("doctor")["findings"] if finding["what"] == "builds"]
    assert any(f"alpha@{before}" in text for text in told), told
    project.commit("nothing new")
    pushed = project.push()
    assert pushed.code == 0, pushed.output
    assert "changed  alpha  (its build is gone from the disk)" in pushed.output
    assert serving(cloud, "alpha") > before
    assert len(registry.read_tools(cloud.home.registry, served(cloud, "alpha"))) == 1
    settled(cloud)


def served(cloud: Cloud, name: str) -> str:
    """The tool list that coordinators read for a server."""
    release = registry.read(cloud.home.registry).servers[name].serving
    assert release is not None
    return release.tools


def test_other_branches_are_stored_and_the_push_says_so(project: Project) -> None:
    pushed = project.push(ref="HEAD:refs/heads/idea")
    assert pushed.code == 0
    assert "refs/heads/idea is stored, not deployed" in pushed.output


def test_what_git_must_not_store_is_refused_before_any_work(cloud: Cloud, project: Project) -> None:
    head = project.remote_head()
    deleted = project.push(ref=":refs/heads/main")
    assert deleted.code == 1
    assert "cannot be deleted" in deleted.output
    strange = project.push(ref="HEAD:refs/strange/x")
    assert strange.code == 1
    assert "neither a branch nor a tag" in strange.output
    os.symlink("../../../etc/passwd", project.folder / "secrets")
    project.commit("a link out")
    linked = project.push()
    project.git("reset", "-q", "--hard", head)
    assert linked.code == 1
    assert "leaves the repository" in linked.output
    assert project.remote_head() == head


def test_push_options_check_plans_only_and_unknown_ones_are_named(project: Project) -> None:
    head = project.remote_head()
    project.write("beta/server.py", server_code("beta", "checked"))
    project.commit("for check")
    checked = project.push("check")
    unknown = project.push("faster")
    project.git("reset", "-q", "--hard", head)
    assert checked.code == 1
    assert "changed  beta" in checked.output
    assert "nothing was deployed" in checked.output
    assert unknown.code == 1
    assert "unknown push option" in unknown.output
    assert project.remote_head() == head


def test_a_rollback_serves_the_release_before_and_moves_the_branch_back(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    key, head = cloud.key(project.name), project.remote_head()
    project.write("alpha/server.py", server_code("alpha", "wrong"))
    project.commit("wrong")
    assert project.push().code == 0
    settled(cloud)
    done = cloud.ask("rollback", project=project.name, who="tester")
    assert done["outcome"] == "rolled-back"
    assert project.remote_head() == head
    assert cloud.call("alpha", "echo", key)["content"][0]["text"] == "again"
    assert cloud.ask("releases", project=project.name)["releases"][0]["serving"] is True
    project.git("reset", "-q", "--hard", head)
    settled(cloud)


def test_the_playbook_run_by_hand_shows_the_plan_and_deploys(cloud: Cloud, project: Project) -> None:
    settled(cloud)
    project.write("beta/server.py", server_code("beta", "by hand"))
    commit = project.commit("by hand")
    assert project.push(ref="HEAD:refs/heads/hand").code == 0

    def playbook(*more: str) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "GIT_"))}
        done = subprocess.run(
            [BIN / "ansible-playbook", "playbooks/rollout.yml", "-e", f"project={project.name}", *more],
            cwd=ROOT,
            env={**kept, "CENTRAL_HOME": str(cloud.home.root), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    before = serving(cloud, "beta")
    planned = playbook("-e", "commit=hand", "--check", "--diff")
    assert "+beta  (changed: source changed)" in planned
    assert serving(cloud, "beta") == before
    playbook("-e", "commit=hand")
    assert serving(cloud, "beta") > before
    assert project.remote_head() == commit
