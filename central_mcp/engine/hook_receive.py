"""proc-receive: the push's own answer. Speaks pkt-line with git, hands the push to the engine, streams what it tells.

Standard library only. git believes the reply and moves nothing itself: the engine has moved the branch when it says
`done`. Protocol: githooks(5), proc-receive, version 1.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .client import Engine, EngineError, EngineUnreachable, find_socket, user
from .told import Teller

OFFERED = ("push-options", "atomic")
MAX_REASON = 200
"""Characters of the reason behind `ng`; git prints it on one line."""
BACK_S = 60.0
"""Seconds that an engine which went away in the middle may take to come back and say how the rollout ended."""
LOOK_S = 0.2


class Wire:
    """pkt-lines between git and us."""

    def __init__(self, read: BinaryIO, write: BinaryIO) -> None:
        self._read = read
        self._write = write

    def packets(self) -> Iterator[str]:
        """Text of each packet up to the flush."""
        while True:
            head = self._read.read(4)
            if len(head) < 4:
                raise EOFError("git hung up")
            size = int(head, 16)
            if size == 0:
                return
            if size < 4:
                raise ValueError(f"a packet of {size} bytes")
            yield self._read.read(size - 4).decode("utf-8", "replace").rstrip("\n")

    def send(self, *lines: str) -> None:
        for line in lines:
            data = line.encode()
            self._write.write(b"%04x" % (len(data) + 4) + data)
        self._write.write(b"0000")
        self._write.flush()


def main(home: Path) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    wire = Wire(sys.stdin.buffer, sys.stdout.buffer)
    greeting = list(wire.packets())
    version, _, theirs = greeting[0].partition("\0")
    if version != "version=1":
        print(f"this git speaks {version}; proc-receive needs version 1", file=sys.stderr)
        return 1
    agreed = [name for name in OFFERED if name in theirs.split()]
    wire.send(f"version=1\0{' '.join(agreed)}")
    commands = [tuple(line.split(" ", 2)) for line in wire.packets()]
    options = list(wire.packets()) if "push-options" in agreed else []
    replies = []
    for old, new, ref in commands:
        replies.append(_reply(home, ref, old, new, options))
    wire.send(*replies)
    return 0


def _reply(home: Path, ref: str, old: str, new: str, options: list[str]) -> str:
    reason = deploy(home, ref, old, new, options)
    return f"ng {ref} {reason}" if reason else f"ok {ref}"


def deploy(home: Path, ref: str, old: str, new: str, options: list[str]) -> str:
    """Hand one ref over and tell what the engine tells; the reason why it was refused, or empty."""
    teller = Teller(sys.stderr)
    try:
        engine = Engine(find_socket(home))
        asked = {"project": project(), "commit": new, "old": old, "ref": ref, "who": who(), "options": options}
        for event in events(engine, teller, asked):
            teller.tell(event)
            if event["type"] == "done":
                return ""
            if event["type"] == "failed":
                where = (event["server"], event["stage"], event["cause"])
                return one_line(": ".join(part for part in where if part))
    except EngineError as exc:
        teller.line(exc.hint)
        return one_line(exc.message)
    except (OSError, ValueError, KeyError) as exc:
        teller.line("start the cloud (`make up`), then push again")
        return one_line(f"no cloud in {home}: {exc}")
    return "the engine did not say how it ended; `central status` tells"


def events(engine: Engine, teller: Teller, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of the deployment. When the engine goes away in the middle, those that the next one tells of it.

    Raises `EngineError`.
    """
    rollout = last = 0
    end = 0.0
    while True:
        try:
            if rollout:
                messages = engine.stream("follow", rollout=rollout, after=last)
            else:
                messages = engine.stream("deploy", source="push", **asked)
            for message in messages:
                if "event" in message:
                    event = message["event"]
                    rollout, last = event["rollout"], event["n"]
                    yield event
            return
        except EngineUnreachable:
            if not rollout or (end and time.monotonic() > end):
                raise
            if not end:
                teller.line("the engine went away; waiting for it")
                end = time.monotonic() + BACK_S
            time.sleep(LOOK_S)


def project() -> str:
    """The repository's name: hooks run in it."""
    return Path(os.environ.get("GIT_DIR", ".")).resolve().name.removesuffix(".git")


def who() -> str:
    """Who pushes: as the login says (set by the account's authorized_keys), else the user of this process."""
    return os.environ.get("CENTRAL_WHO") or user()


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:MAX_REASON]
