#!/usr/bin/env python3
"""The whole story on this machine, in a clone and on a free port: up, call, push, broken push, rollback, down, up.

Runs the commands that the README names, as a user would, and prints each with what it answered. Ends with exit 1 at the
first thing that is not as told. Standard library only.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class StoryError(Exception):
    """What was not as told."""


class Story:
    def __init__(self, folder: Path) -> None:
        self.clone = folder / "c"
        self.central = self.clone / ".venv" / "bin" / "central"
        self.fleet = self.clone / ".central" / "fleet"
        self.port = free_port()
        dropped = ("CENTRAL_", "GIT_", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        who = {"GIT_AUTHOR_NAME": "Story", "GIT_AUTHOR_EMAIL": "story@localhost"}
        who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
        self.environment = {**kept, **who, "CENTRAL_PORT": str(self.port)}

    def run(self, *argv: str, folder: Path | None = None, code: int = 0, says: str = "") -> str:
        """Run one command; it must end with `code` and print `says`."""
        print(f"\n$ {' '.join(argv)}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=folder or self.clone,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(f"{done.stdout.rstrip()}\n[exit {done.returncode}, {time.monotonic() - started:.1f} s]", flush=True)
        if done.returncode != code:
            raise StoryError(f"{' '.join(argv)}: exit {done.returncode}, expected {code}")
        if says not in done.stdout:
            raise StoryError(f"{' '.join(argv)}: does not say {says!r}")
        return done.stdout

    def tell(self) -> None:
        self.run("git", "clone", "--quiet", str(ROOT), str(self.clone), folder=ROOT)
        self.run("make", "down", says="nothing runs")
        self.first_run()
        first = self.content()
        self.good_push()
        self.broken_push()
        self.run(str(self.central), "rollback", says="serves commit")
        check("rollback serves the first content again", self.content() == first)
        self.run(str(self.central), "releases")
        self.run(str(self.central), "status")
        self.run(str(self.central), "doctor")
        before = self.releases()
        self.run("make", "down", says="no process and no socket is left")
        self.nothing_left()
        self.run("make", "down", says="nothing runs")
        self.run("make", "up", says="later run")
        check("the same releases serve after down and up", self.releases() == before)
        self.run("make", "up", says="later run")
        self.run("make", "down")
        self.nothing_left()

    def first_run(self) -> None:
        with socket.create_server(("127.0.0.1", self.port)):
            self.run("make", "up", code=2, says=f"port {self.port}: taken by")
        check("a taken port changes nothing", not any((self.clone / name).exists() for name in (".central", ".venv")))
        told = self.run("make", "up", says="first run")
        for line in ("coordinator  http://", "mcpServers", "API_KEY", "central      ", "proved       "):
            check(f"up prints {line.strip()!r}", line in told)
        check("a call without a key is refused", self.post_status() == 401)
        with tempfile.TemporaryDirectory() as work:
            self.run(str(self.central), "connect", "--client", "claude", folder=Path(work), says="wrote")

    def good_push(self) -> None:
        before = {s["name"]: s["release"] for s in self.status()["servers"]}
        self.edit("servers/notes", "*.py", lambda text: text + "\n# one line more\n")
        self.commit("notes: one line more")
        self.run("git", "push", "central", "HEAD:main", folder=self.fleet)
        after = {s["name"]: s["release"] for s in self.status()["servers"]}
        changed = sorted(name for name in after if after[name] != before.get(name))
        check(f"only the changed server has a new release (changed: {changed})", changed == ["notes"])
        self.run("git", "push", "central", "HEAD:main", folder=self.fleet, says="up-to-date")

    def broken_push(self) -> None:
        before = self.releases()
        self.edit("servers/notes", "__main__.py", lambda text: 'raise SystemExit("story: broken on purpose")\n' + text)
        self.commit("notes: broken")
        told = self.run("git", "push", "central", "HEAD:main", folder=self.fleet, code=1, says="rejected")
        check("the refusal shows the server and its last words", "notes" in told and "broken on purpose" in told)
        check("the old release serves on", self.releases() == before)
        self.run(str(self.central), "status", says="refused")
        self.run("git", "reset", "--quiet", "--hard", "HEAD~1", folder=self.fleet)

    def edit(self, folder: str, pattern: str, change: Callable[[str], str]) -> None:
        path = sorted((self.fleet / folder).rglob(pattern))[0]
        path.write_text(change(path.read_text()))

    def commit(self, subject: str) -> None:
        self.run("git", "commit", "--quiet", "--all", f"--message={subject}", folder=self.fleet)

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [self.central, "status", "--json"], env=self.environment, capture_output=True, text=True, check=True
        )
        return dict(json.loads(done.stdout))

    def releases(self) -> dict[str, object]:
        return {server["name"]: server["release"] for server in self.status()["servers"]}

    def content(self) -> str:
        """The commit that serves."""
        return str(self.status()["projects"][0]["commit"])

    def post_status(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            body = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
            connection.request("POST", "/mcp", body, {"Content-Type": "application/json", "Accept": "application/json"})
            return connection.getresponse().status

    def nothing_left(self) -> None:
        mark = os.fsencode(self.clone / ".central")
        left = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "cmdline").read_bytes():
                    left.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        check(f"no process is left {left or ''}", not left)
        sockets = [path for path in (self.clone / ".central").rglob("*") if path.is_socket()]
        check(f"no socket is left {sockets or ''}", not sockets)
        with socket.create_server(("127.0.0.1", self.port)):
            check("the port is free", True)


def check(what: str, holds: bool) -> None:
    print(f"{'ok' if holds else 'NOT SO'}: {what}", flush=True)
    if not holds:
        raise StoryError(what)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the clone, for a look after a failure")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="st", dir="/tmp"))
    story = Story(folder)
    started = time.monotonic()
    try:
        story.tell()
    except StoryError as exc:
        print(f"\nthe story broke off: {exc}", flush=True)
        for log in sorted((story.clone / ".central" / "log").glob("*.log")):
            print(f"==> {log} <==\n{''.join(log.read_text(errors='replace').splitlines(keepends=True)[-20:])}")
        return 1
    finally:
        if story.central.exists():
            subprocess.run([story.central, "down"], env=story.environment, check=False)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\nthe story holds ({time.monotonic() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
