"""`central up`: from a checkout to a cloud that answered a call, and the words that a user needs next.

Each step may be repeated: what is there is kept. Interrupted anywhere, the next run goes on.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .cloud import CHECKOUT, Cloud, declared_project, default_root
from .connect import ENTRY, entry
from .errors import CliError
from .fleet import EXAMPLE, git, make_work_tree, push, set_remote
from .keys import key_file
from .output import Steps, print_table
from .preflight import PreflightError, check_port, wanted_port
from .proof import Proof, bridge_command, prove

HEALTHY_S = 60.0
"""Seconds for every server of the fleet to be serving after the push, or after a restart of all programs."""


def up(as_json: bool) -> dict[str, Any]:
    """Bring the cloud of this checkout up. Returns what `--json` prints. Raises `CliError`."""
    started = began()
    root = default_root()
    first = not (root / "etc" / "settings.json").exists()
    steps = Steps(sys.stderr if as_json else sys.stdout)
    try:
        preflight(root)
        steps.start("provision this machine")
        steps.done(provision(root, steps))
        os.environ["CENTRAL_HOME"] = str(root)
        cloud = Cloud()
        project = deploy_fleet(cloud, root / "fleet", steps)
        steps.start("wait until every server is healthy")
        servers = with_seconds(cloud, wait_healthy(cloud))
        steps.done(f"{len(servers)} of {len(servers)}")
        bridge = mcp_entry(cloud, project)
        steps.start("call a tool through the bridge")
        proof = prove(bridge, wanted_calls(root / "fleet"))
        steps.done()
    finally:
        steps.abandon()
    report = {
        "servers": servers,
        "url": f"http://{host(cloud)}:{cloud.home.settings.port}/mcp",
        "mcp": {"mcpServers": {ENTRY: bridge}},
        "central": str(Path(sys.executable).with_name("central")),
        "proof": str(proof),
        "run": "first" if first else "later",
        "seconds": round(time.time() - started, 1),
    }
    if not as_json:
        print_report(report, proof, root / "fleet")
    return report


def preflight(root: Path) -> None:
    """Refuse before anything is changed. Raises `CliError`."""
    try:
        check_port(root, wanted_port(root, dict(os.environ)))
    except PreflightError as exc:
        raise CliError(str(exc), exc.next_step) from exc
    if not EXAMPLE.is_dir():
        raise CliError(f"{EXAMPLE}: missing", "run `make up` in a whole checkout of central-mcp")


def provision(root: Path, steps: Steps) -> str:
    """Run the provision playbook on this machine; the number of changes in words. Raises `CliError`."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = root / "provision.log"
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/provision.yml"]
    changed, tail, wrong = 0, list[str](), list[str]()
    with (
        log.open("w") as file,
        subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env=ansible_environment(root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            file.write(line)
            tail.append(line.rstrip())
            if line.startswith("TASK [") and "Validating arguments" not in line:
                steps.detail(line.partition("[")[2].partition(" : ")[0])
            changed += line.startswith("changed:")
            if line.startswith("fatal:"):
                wrong.append(failure(line))
    if child.returncode:
        told = "\n".join(wrong or tail[-15:])
        raise CliError(f"provisioning: {told}", f"see {log}")
    return f"{changed} change{'s' if changed > 1 else ''}" if changed else "nothing to change"


def failure(line: str) -> str:
    """The module's own message in a line like `fatal: [localhost]: FAILED! => {...}`."""
    try:
        return str(json.loads(line.partition("=> ")[2])["msg"]).removeprefix("Task failed: Module failed: ")
    except (ValueError, KeyError, TypeError):
        return line.rstrip()


def ansible_environment(root: Path) -> dict[str, str]:
    """The caller's without git's and Ansible's own variables; a UTF-8 locale, which ansible-playbook insists on."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "ANSIBLE_", "PYTHON"))}
    ours = {
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(root / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(root / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",  # a failure in one line, for `failure`
        "ANSIBLE_CALLBACK_FORMAT_PRETTY": "false",
        "CENTRAL_HOME": str(root),
        "LC_ALL": "C.UTF-8",
    }
    return {**kept, **ours}


def deploy_fleet(cloud: Cloud, folder: Path, steps: Steps) -> str:
    """The example project serves: made and pushed if it does not yet. Returns its name. Raises `CliError`."""
    branch = cloud.home.settings.branch
    make_work_tree(folder, branch)
    project = declared_project(folder)
    if project is None:
        raise CliError(f"{folder}/central.yml: missing", f"git -C {folder} checkout central.yml, or remove {folder}")
    made = cloud.ask("project.create", name=project)
    set_remote(folder, str(made["remote"]))
    serving = {p["name"]: p for p in cloud.ask("status")["projects"]}.get(project, {}).get("release")
    if serving:
        if git(folder, "status", "--porcelain"):
            steps.line(f"{folder} has changes that are not committed; v{serving} serves on")
        return project
    steps.start(f"push {project}")
    steps.line(f"git -C {shlex.quote(str(folder))} push central {branch}")
    push(folder, branch, lambda line: steps.line(f"  {line}"))
    steps.done("accepted")
    return project


def wait_healthy(cloud: Cloud) -> list[dict[str, Any]]:
    """Every server, once all serve. Raises `CliError` naming those that do not."""
    end = time.monotonic() + HEALTHY_S
    while True:
        servers = [dict(server) for server in cloud.ask("status")["servers"]]
        waiting = [server for server in servers if server["state"] != "serving" or not server.get("listening", True)]
        if servers and not waiting:
            return servers
        if time.monotonic() > end:
            told = ", ".join(f"{server['name']} {unhealthy(server)}" for server in waiting) or "there is none"
            raise CliError(f"servers after {HEALTHY_S:.0f} s: {told}", "central doctor; then make down && make up")
        time.sleep(0.1)


def unhealthy(server: dict[str, Any]) -> str:
    return "does not listen" if server["state"] == "serving" else f"is {server['state']}"


def with_seconds(cloud: Cloud, servers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each server with the seconds that its release took to build, start and pass the gate, as its rollout recorded."""
    taken: dict[tuple[str, int], float] = {}
    for project in {str(server["project"]) for server in servers}:
        for release in cloud.ask("releases", project=project)["releases"]:
            if release["release"] in {server["release"] for server in servers}:
                for found in rolled_out(cloud, release.get("rollout")):
                    if found["change"] != "unchanged":
                        taken[found["name"], found["release"]] = found["seconds"]
    return [{**server, "seconds": taken.get((server["name"], server["release"]))} for server in servers]


def rolled_out(cloud: Cloud, rollout: int | None) -> list[dict[str, Any]]:
    """The servers in a rollout's `done` event; none if it has none. Does not wait for a long watch."""
    messages = cloud.stream("follow", rollout=rollout, after=0) if rollout else iter(())
    for message in messages:
        if message.get("event", {}).get("type") == "done":
            return list(message["event"]["servers"])
    return []


def mcp_entry(cloud: Cloud, project: str) -> dict[str, Any]:
    url = f"ws://{host(cloud)}:{cloud.home.settings.port}/mcp"
    return entry(bridge_command(), url, project, f"{project}-client", key_file(cloud, project))


def host(cloud: Cloud) -> str:
    """An address that reaches the coordinator from this machine."""
    listening = cloud.home.settings.host
    return "127.0.0.1" if listening in ("0.0.0.0", "::", "") else listening


def wanted_calls(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Calls that prove most: the health calls that the fleet's manifest declares."""
    from ..manifest import load

    manifest = load((folder / "central.yml").read_bytes())
    return [
        (f"{name}__{server.health.tool}", dict(server.health.arguments))
        for name, server in manifest.servers.items()
        if server.health is not None and server.health.tool
    ]


def began() -> float:
    """Unix time at which `make` began, as it says in CENTRAL_STARTED, so that making .venv counts; else now."""
    text = os.environ.get("CENTRAL_STARTED", "")
    return float(text) if text.isdigit() else time.time()


def print_report(report: dict[str, Any], proof: Proof, folder: Path) -> None:
    print()
    columns = ("name", "category", "port", "release", "tools", "seconds")
    print_table([c.upper() for c in columns], [[s.get(c) for c in columns] for s in report["servers"]])
    print(f"\ncoordinator  {report['url']}")
    print("\nmcp.json     (Claude, Cursor; `central connect --client vscode` for VS Code)")
    print(json.dumps(report["mcp"], indent=2))
    print(f"\ncentral      {report['central']}")
    print(f"fleet        {folder} (change it, commit, git push central main)")
    print(f"proved       {proof}")
    print(f"{report['run']} run    {report['seconds']} s")
