"""post-receive: tells the pusher which refs were only stored. Rollouts do not wait for it."""

import sys
from pathlib import Path

from .client import Engine, EngineError, find_socket
from .hook_receive import project
from .told import Teller


def main(home: Path) -> int:
    """Never fails a push: git has answered already."""
    teller = Teller(sys.stderr)
    refs = [line.split()[2] for line in sys.stdin if len(line.split()) == 3]
    try:
        answer = Engine(find_socket(home)).ask("announce", project=project(), refs=refs)
    except (EngineError, OSError, ValueError, KeyError):
        return 0
    for ref in answer["stored"]:
        named, branch = ref.removeprefix("refs/heads/"), answer["branch"]
        how = f" (git push central {named}:{branch})" if ref.startswith("refs/heads/") else ""
        teller.line(f"{ref} is stored, not deployed; a push to {branch} deploys{how}")
    return 0
