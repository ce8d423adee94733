"""A push as its user feels it: one changed line until live, the calls made meanwhile, a push of nothing, a rollback."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from loadgen import Template
from results import Result
from websockets.sync.client import ClientConnection

EVERY_S = 0.02


class Caller(threading.Thread):
    """50 calls a second, one after the other, until told to stop; keeps what failed and the longest gap."""

    def __init__(self, socket: ClientConnection, tool: str) -> None:
        super().__init__(daemon=True)
        self.socket, self.template = socket, Template(tool, 300)
        self.done = threading.Event()
        self.calls, self.longest_s = 0, 0.0
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.done.wait(EVERY_S):
            self.calls += 1
            began = time.perf_counter()
            self.socket.send(self.template.fill(self.calls), text=True)
            answer = str(self.socket.recv())
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            if f"{self.calls:08d}" not in answer:
                self.failed.append(answer[:200])

    def stop(self) -> None:
        self.done.set()
        self.join(30)


def seconds(text: str, word: str) -> float:
    """The figure that the push itself printed, `live after 2.4 s` for word `live after`; NaN when it did not."""
    found = re.search(re.escape(word) + r" ([0-9.]+) ?s", text)
    return float(found.group(1)) if found else float("nan")


def timed(action: Callable[[], tuple[int, str]]) -> tuple[float, str]:
    """Wall seconds and output. Raises `RuntimeError` with the output when it failed."""
    began = time.perf_counter()
    code, output = action()
    if code != 0:
        raise RuntimeError(output)
    return time.perf_counter() - began, output


def measure(
    work: Path,
    push: Callable[[], tuple[int, str]],
    deploy_again: Callable[[], tuple[int, str]],
    rollback: Callable[[], tuple[int, str]],
    socket: ClientConnection,
    tool: str,
) -> list[Result]:
    """`work` is the pushed work tree; `push` commits what is there and pushes it."""
    source = work / "servers" / "echo" / "echo.py"
    source.write_text(source.read_text() + f"# {time.time()}\n")
    caller = Caller(socket, tool)
    caller.start()
    try:
        wall, output = timed(push)
    finally:
        caller.stop()
    note = f"{caller.calls} calls meanwhile, {len(caller.failed)} failed, longest {caller.longest_s * 1000:.0f} ms"
    return [
        Result("push of one line: to live", seconds(output, "live after"), "s", "5 s", note=note),
        Result("push of one line: git push in all", round(wall, 2), "s"),
        Result("push of one line: failed calls", len(caller.failed), "calls", "0", note=str(caller.failed[:1] or "")),
        Result("deploy of nothing new", round(timed(deploy_again)[0], 2), "s", "2 s"),
        Result("rollback", round(timed(rollback)[0], 2), "s", "2 s"),
    ]
