#!/usr/bin/env python3
"""`make bench`: a cloud of its own, the echo fleet pushed to it, every figure of the budget, a table and results.json.

Everything runs on this machine, load generator included, so figures are for ratios within one run; CPU per call and the
load average stand beside them. `--quick` takes a tenth of the time.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import calls  # noqa: E402
import peers  # noqa: E402
import push  # noqa: E402
import results  # noqa: E402
from loadgen import Load, raise_file_limit  # noqa: E402
from results import Result  # noqa: E402

import bridge  # noqa: E402
from tests.cloud import BIN, Cloud, Project, environment  # noqa: E402

TOOL = "echo__echo"
PROJECT = "bench"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works, not to quote")
    parser.add_argument("--connections", type=int, default=3000, help="client connections of the crowd")
    parser.add_argument("--no-peers", action="store_true", help="leave out other programs (they come from PyPI)")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    args = parser.parse_args()
    raise_file_limit()
    found: list[Result] = []
    try:
        with Cloud.up(coordinators=2) as cloud, tempfile.TemporaryDirectory() as folder:
            measure(cloud, Path(folder), 1.0 if args.quick else 8.0, args.connections, found.extend)
        if not args.no_peers:
            say("other programs on the same echo server")
            found += peers.measure()
    finally:
        results.show(found)
        if found:
            results.write(found, args.out)
            print(f"written to {args.out}")
    return 0


def measure(cloud: Cloud, folder: Path, seconds: float, connections: int, add: Callable[[list[Result]], None]) -> None:
    """Every figure of ours, in the order in which a user meets them."""
    say("push the echo fleet")
    project = fleet(cloud)
    key_file = folder / "key"
    key_file.touch(0o600)
    key_file.write_text(cloud.key(PROJECT))
    url = cloud.url.replace("http", "ws", 1) + "/mcp"
    say("the bridge")
    add(bridge.measure(url, key_file, PROJECT, TOOL))
    say(f"calls, up to {connections} WebSockets")
    pids = {"coordinator": core_pids(cloud, "coordinator"), "router": core_pids(cloud, "router")}
    load = Load(url=url, key=key_file.read_text(), tool=TOOL, project=PROJECT, watch_pids=pids)
    add(calls.measure(load, connections, seconds))
    say("a push under load, a push of nothing, a rollback")
    with bridge.direct(url, key_file, PROJECT) as socket:
        actions = (lambda: pushed(project), lambda: nothing_new(project), lambda: central(cloud, "rollback"))
        add(push.measure(project.folder, *actions, socket, TOOL))


def fleet(cloud: Cloud) -> Project:
    """The bench's project, pushed. Raises `RuntimeError` with what git said."""
    project = cloud.project(PROJECT)
    shutil.copytree(HERE / "fleet", project.folder, dirs_exist_ok=True)
    project.commit("the echo fleet")
    first = project.push()
    if first.code:
        raise RuntimeError(first.output)
    return project


def pushed(project: Project) -> tuple[int, str]:
    project.commit("one line")
    done = project.push()
    return done.code, done.output


def nothing_new(project: Project) -> tuple[int, str]:
    """A new commit that changes no server."""
    return pushed(project)


def central(cloud: Cloud, *arguments: str) -> tuple[int, str]:
    """One `central` command against the bench's cloud."""
    env = {**environment(), "CENTRAL_HOME": str(cloud.home.root)}
    argv = [str(BIN / "central"), *arguments, "--project", PROJECT]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def core_pids(cloud: Cloud, name: str) -> list[int]:
    return [int(p["pid"]) for p in cloud.status()["programs"] if p["name"].partition(":")[0] == name]


def say(what: str) -> None:
    print(f"bench: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
