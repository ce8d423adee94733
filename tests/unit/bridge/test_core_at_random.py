"""Whatever happens in whatever order: one answer for each id, nothing unsafe written twice, nothing lost."""

import json
import random
from collections import Counter
from typing import Any

import pytest

from central_bridge import answers
from central_bridge.answers import Trouble
from central_bridge.core import Core
from central_bridge.session import Link

TROUBLES = [Trouble("refused", "Look."), Trouble("wrong key", "Make one.", answers.REFUSED_KEY, final=True)]
METHODS = ["tools/list", "tools/call:safe", "tools/call:once", "server/discover", "prompts/get", "x/unknown"]


class World:
    """A client, a coordinator and the weather, all from one seed."""

    def __init__(self, seed: int, legacy: bool) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.core = Core("ws://vm/mcp", wait_s=5, limit=10_000, log=lambda level, text: None)
        self.core.calls.safe_tools.add("safe")
        self.asked: dict[int | str, str] = {}
        self.cancelled: set[int | str] = set()
        self.answered: Counter[int | str] = Counter()
        self.written: Counter[int | str] = Counter()
        self.at_vm: list[int | str] = []
        self.number = 0
        if legacy:
            self.line({"id": "init", "method": "initialize", "params": {"protocolVersion": "2025-11-25"}})
            self.asked["init"] = "initialize"
            self.line({"method": "notifications/initialized"})

    def line(self, message: dict[str, Any]) -> None:
        self.core.line(json.dumps({"jsonrpc": "2.0", **message}).encode(), self.now)
        self.take()

    def take(self) -> None:
        for raw in self.core.voice.lines:
            message = json.loads(raw)
            if "method" not in message and message["id"] is not None:
                self.answered[message["id"]] += 1
        for raw in self.core.to_vm:
            message = json.loads(raw)
            if "id" in message and "method" in message:
                self.written[message["id"]] += 1
                self.at_vm.append(message["id"])
        self.core.voice.lines, self.core.to_vm = [], []

    def ask(self) -> None:
        self.number += 1
        id = self.dice.choice([self.number, str(self.number)])
        method, _, tool = self.dice.choice(METHODS).partition(":")
        self.asked[id] = f"{method}:{tool}"
        self.line({"id": id, "method": method, "params": {"name": tool} if tool else {}})

    def cancel(self) -> None:
        known = [id for id in self.asked if id != "init"]
        if known:
            id = self.dice.choice(known)
            if not self.answered[id]:
                self.cancelled.add(id)
            self.line({"method": "notifications/cancelled", "params": {"requestId": id}})

    def answer(self) -> None:
        if self.at_vm:
            at = self.dice.randrange(len(self.at_vm))
            id = self.at_vm[at] if self.dice.random() < 0.1 else self.at_vm.pop(at)  # now and then twice
            self.core.frame(json.dumps({"jsonrpc": "2.0", "id": id, "result": {}}).encode(), self.now)
            self.take()

    def weather(self) -> None:
        if self.core.link is Link.DOWN:
            if self.dice.random() < 0.5:
                self.core.up(self.now)
            else:
                self.core.failed(self.now, self.dice.choice(TROUBLES))
        else:
            self.core.lost(self.now, "cut", too_big=self.dice.random() < 0.1)
            self.at_vm.clear()
        self.take()

    def wire(self) -> None:
        if self.core.link is not Link.DOWN and self.dice.random() < 0.5:
            self.core.holding = True
        else:
            self.core.drained()
        self.take()

    def time(self) -> None:
        self.now += self.dice.random() * 3
        self.core.tick(self.now)
        self.take()

    def settle(self) -> None:
        """The sun comes out: everything that can be answered is."""
        if self.core.link is Link.DOWN:
            self.core.up(self.now)
        self.core.drained()
        self.take()
        while self.at_vm:
            self.answer()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_one_answer_for_each_request(seed: int, legacy: bool):
    world = World(seed, legacy)
    steps = [world.ask] * 8 + [world.answer] * 8 + [world.cancel, world.weather, world.wire, world.time]
    for _ in range(300):
        world.dice.choice(steps)()
    world.settle()
    for id, what in world.asked.items():
        if id in world.cancelled:
            assert world.answered[id] == 0, what
        else:
            assert world.answered[id] == 1, (id, what)
        if what in ("tools/call:once", "x/unknown:"):
            assert world.written[id] <= 1, what
    assert not world.core.busy
    assert (world.core.calls.under_way, world.core.calls.waiting_bytes, world.core.calls.hedged) == (0, 0, 0)
