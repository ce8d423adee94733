"""The example fleet in a cloud of its own, pushed through git."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cloud import BIN, ROOT, Cloud, Project
from tests.integration.bridge.client import environment
from tests.waiting import wait_until

EXAMPLE = ROOT / "examples" / "fleet"
BRIDGE = str(BIN / "central-mcp-bridge")
WATCH = "    rollout: {watch: 1s, thresholds: {p95: 50x}}\n"
BOARD = (
    """
  # The notes once more, with one process for everybody.
  board:
    category: iot
    source: ./servers/board
    run: [python, -m, notes]
    env: {NOTES_FILE: "{data}/notes.db"}
    sessions: shared
    listen: true
"""
    + WATCH
)


@dataclass
class Fleet:
    cloud: Cloud
    project: Project
    key: str
    page: str
    refused: str
    """What fetch said about `page` before it was allowed to read it."""

    @property
    def ws_url(self) -> str:
        return self.cloud.url.replace("http:", "ws:")

    @property
    def files(self) -> str:
        return str(self.cloud.home.data / self.project.name / "filesystem")

    def bridge(self, path: str = "/mcp") -> dict[str, str]:
        """The environment that an MCP client gives the bridge."""
        return environment(self.ws_url + path, API_KEY=self.key, PROJECT_NAME=self.project.name)

    def releases(self) -> dict[str, int]:
        return {server["name"]: server["release"] for server in self.cloud.status()["servers"]}


def copy(project: Project) -> None:
    """The example as it is, committed."""
    shutil.copytree(EXAMPLE, project.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    project.commit("the example as it is")


def extend(project: Project) -> None:
    """What these tests need more: fetch may read loopback, `board` is `notes` with shared sessions, short watches.

    A busy machine makes calls slow at any time, so the watches look at errors alone.
    """
    file = project.folder / "central.yml"
    text = file.read_text()
    text = text.replace(
        "    use: fetch\n", f"    use: fetch\n    run: [mcp-server-fetch, --allow-private-ips]\n{WATCH}"
    )
    file.write_text(text.rstrip("\n") + "\n" + WATCH + BOARD)
    assert "--allow-private-ips]\n" in file.read_text()
    shutil.copytree(project.folder / "servers/notes", project.folder / "servers/board")
    project.commit("with a board, and with inner pages")


def push(project: Project, *options: str) -> str:
    done = project.push(*options, timeout=300)
    assert done.code == 0, done.output
    return done.output


def settle(cloud: Cloud) -> None:
    """Wait until no rollout is under way and every replaced release has retired."""

    def quiet() -> bool:
        status = cloud.status()
        return not any(p["rollout"] for p in status["projects"]) and not any(s["also"] for s in status["servers"])

    wait_until(quiet, "rollouts to end and old releases to retire", 90)


def replace(file: Path, old: str, new: str) -> None:
    text, times = re.subn(re.escape(old), new.replace("\\", "\\\\"), file.read_text())
    assert times == 1, (file, old, times)
    file.write_text(text)
