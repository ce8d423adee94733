"""What lies in a home, for tests that must find nothing left."""

import os

from tests.cloud import Cloud

PASSING = ("log", "git", "tmp", "envs")


def everything(cloud: Cloud) -> set[str]:
    """Files, folders, sockets and programs of a home, without logs, git objects and state.db itself."""
    found = set()
    for folder, _, names in os.walk(cloud.home.root):
        below = os.path.relpath(folder, cloud.home.root)
        if below.split("/")[0] not in PASSING:
            found |= {os.path.join(below, name) for name in names if not name.startswith("state.db")} | {below}
    programs = cloud.home.etc / "programs"
    return found | {line for file in programs.glob("*.conf") for line in file.read_text().splitlines() if "[" in line}
