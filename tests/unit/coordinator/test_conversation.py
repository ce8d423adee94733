"""A conversation without sockets: what goes to the router, what comes back, and that nothing can break it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from central_mcp.coordinator.access import Access, Caller
from central_mcp.coordinator.conversation import Conversation
from central_mcp.coordinator.front import Front
from central_mcp.coordinator.metrics import Metrics
from central_mcp.protocol.frames import Head, Kind
from central_mcp.registry import Release, Replica, Server, Snapshot, write_tools

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
}


class Link:
    """Keeps calls for the test to answer."""

    up, open = True, 0

    def __init__(self) -> None:
        self.calls: dict[int, tuple[Head, bytes, Callable[[Head, bytes], None]]] = {}
        self.cancelled: list[int] = []

    def call(self, head: Head, body: bytes, done: Callable[[Head, bytes], None]) -> int:
        head.id = len(self.calls) + 1
        self.calls[head.id] = (head, body, done)
        return head.id

    async def ask(self, head: Head, body: bytes = b"{}") -> bytes:
        raise NotImplementedError

    def cancel(self, call_id: int) -> None:
        self.cancelled.append(call_id)

    def end(self, principal: str, session: str) -> None:
        pass


class Sink:
    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.notes: list[Any] = []

    def answer(self, message: bytes, code: int) -> None:
        self.answers.append(json.loads(message))
        assert self.answers[-1].get("error", {}).get("code", 0) == code

    def note(self, message: bytes) -> None:
        self.notes.append(json.loads(message))

    def settled(self) -> None:
        pass

    def revoke(self) -> None:
        pass


class Bench:
    """A front with one server and one conversation."""

    def __init__(self, registry: Path, server: str = "") -> None:
        sha = write_tools(registry, [{"name": "echo"}, {"name": "do.it"}])
        release = Release(1, "serving", Replica("unix:/x"), tools=sha, capabilities={"tools": {}, "prompts": {}})
        made = Server("git", "p", "dev-tools", 3350, releases=(release,))
        self.front = Front(registry, bytes(range(32)), Access("127.0.0.1"), Metrics())
        self.link = self.front.link = Link()
        self.front.update(Snapshot(1, servers={"git": made}))
        self.sink = Sink()
        self.talk = Conversation(self.front, Caller("k", "p", "c"), server, self.sink, session="s")

    def send(self, method: str, id: Any = 1, *, meta: Any = ENVELOPE, **params: Any) -> None:
        if meta is not None:
            params["_meta"] = meta
        self.talk.take(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode())

    def initialize(self, version: str = "2025-11-25") -> None:
        self.send(
            "initialize",
            "i",
            meta=None,
            protocolVersion=version,
            capabilities={"sampling": {}},
            clientInfo={"name": "n"},
        )
        self.sink.answers.clear()

    def answer(self, body: bytes, *, kind: Kind = Kind.RESULT, era: str = "legacy", call: int = 1) -> Any:
        self.link.calls[call][2](Head(kind, call, era=era), body)
        return self.sink.answers[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_call_goes_out_in_neutral_form_with_its_callers_particulars(bench: Bench) -> None:
    meta = {**ENVELOPE, "progressToken": 5, "io.modelcontextprotocol/logLevel": "info", "x/y": 1, "traceparent": "00-t"}
    bench.send("tools/call", meta=meta, name="git__echo", arguments={"a": 1})
    head, body, _ = bench.link.calls[1]
    assert json.loads(body) == {"name": "echo", "arguments": {"a": 1}, "_meta": {"x/y": 1, "traceparent": "00-t"}}
    assert (head.server, head.method, head.principal, head.session) == ("git", "tools/call", "p/k", "s")
    assert (head.era, head.progress, head.log_level, head.trace) == ("modern", True, "info", "00-t")
    assert json.loads(head.caps) == {"roots": {}}


def test_a_legacy_call_carries_what_initialize_said(bench: Bench) -> None:
    bench.initialize()
    bench.send("logging/setLevel", 2, meta=None, level="error")
    bench.send("tools/call", 3, meta=None, name="git__echo")
    head, body, _ = bench.link.calls[1]
    assert json.loads(body) == {"name": "echo"}
    assert (head.era, head.log_level, json.loads(head.caps), json.loads(head.client)) == (
        "legacy", "error", {"sampling": {}}, {"name": "n"}
    )  # fmt: skip


def test_a_shortened_name_finds_its_tool(bench: Bench) -> None:
    name = next(name for name in bench.front.directory.index if name != "git__echo")
    bench.send("tools/call", name=name)
    assert json.loads(bench.link.calls[1][1]) == {"name": "do.it"}


def test_the_servers_error_passes_and_a_legacy_only_code_is_translated(bench: Bench) -> None:
    bench.send("tools/call", name="git__echo")
    error = bench.answer(b'{"code":-32002,"message":"gone","data":{"uri":"x"}}', kind=Kind.ERROR)["error"]
    assert error == {"code": -32602, "message": "gone", "data": {"uri": "x"}}
    bench.send("tools/call", name="git__echo")
    assert bench.answer(b'{"code":7,"message":"m"}', kind=Kind.ERROR, call=2)["error"] == {"code": 7, "message": "m"}
    bench.send("tools/call", name="git__echo")
    assert bench.answer(b"nonsense", kind=Kind.ERROR, call=3)["error"]["code"] == -32603


@pytest.mark.parametrize("body", [b'{"a":"\xff"}', b"5", b""])
def test_a_result_that_no_client_could_read_becomes_an_error(bench: Bench, body: bytes) -> None:
    bench.send("tools/call", name="git__echo")
    assert bench.answer(body)["error"]["code"] == -32603


def test_progress_and_messages_reach_the_call_they_belong_to(bench: Bench) -> None:
    bench.send("tools/call", meta={**ENVELOPE, "progressToken": "t"}, name="git__echo")
    for body, params in ((b'{"progress":1}', {"progressToken": "t", "progress": 1}), (b"{}", {"progressToken": "t"})):
        bench.front.note(1, Head(Kind.NOTE, 1, "notifications/progress"), body)
        assert bench.sink.notes[-1] == {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    bench.answer(b"{}")
    bench.front.note(1, Head(Kind.NOTE, 1, "notifications/progress"), b"{}")
    assert len(bench.sink.notes) == 2


def test_nothing_is_answered_after_the_end(bench: Bench) -> None:
    bench.send("tools/call", 1, name="git__echo")
    bench.talk.end(cancel=False)
    bench.link.calls[1][2](Head(Kind.RESULT, 1, era="legacy"), b"{}")
    assert bench.sink.answers == []
    bench.send("tools/call", 2, name="git__echo")
    bench.talk.end(cancel=True)
    assert bench.link.cancelled == [2]


def test_a_router_that_refuses_at_once_is_an_answer(bench: Bench) -> None:
    def refuse(head: Head, body: bytes, done: Callable[[Head, bytes], None]) -> int:
        done(Head(Kind.ERROR, 9), b'{"code":50300,"message":"down"}')
        return 9

    bench.link.call = refuse  # type: ignore[method-assign]
    bench.send("tools/call", meta={**ENVELOPE, "progressToken": 1}, name="git__echo")
    assert bench.sink.answers[-1]["error"]["code"] == 50300
    assert (bench.talk.open, bench.front.exchanges) == ({}, {})


def test_prompts_are_routed_at_the_servers_endpoint_only(tmp_path: Path) -> None:
    aggregate = Bench(tmp_path)
    aggregate.send("prompts/list")
    assert aggregate.sink.answers[-1]["error"]["code"] == -32601
    own = Bench(tmp_path, "git")
    own.send("prompts/list")
    assert own.link.calls[1][0].method == "prompts/list"


def test_more_subscriptions_than_allowed_are_refused(bench: Bench) -> None:
    for number in range(65):
        bench.send("subscriptions/listen", number, notifications={"toolsListChanged": True})
    assert bench.sink.answers[-1]["error"]["code"] == 42900
    bench.talk.finish_listens()
    assert len(bench.sink.answers) == 1 + 64


def test_an_overlong_id_is_refused(bench: Bench) -> None:
    bench.send("tools/list", "x" * 2000)
    assert bench.sink.answers[-1]["error"]["code"] == -32600


def test_no_mutation_of_a_message_breaks_a_conversation(bench: Bench) -> None:
    chance = random.Random(7)
    seeds = [
        {"method": "tools/call", "params": {"name": "git__echo", "arguments": {"a": [1]}, "_meta": ENVELOPE}},
        {"method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}},
        {"method": "subscriptions/listen", "params": {"notifications": {"toolsListChanged": True}, "_meta": ENVELOPE}},
        {"method": "notifications/cancelled", "params": {"requestId": 1}},
        {"method": "tools/list", "params": {"cursor": "x", "_meta": ENVELOPE}},
    ]
    pieces = [b"null", b"{}", b"[]", b'"', b"\xff", b"\\u0000", b"1e999", b"true", b"\n", b"{", b"}", b",", b":", b"-"]
    for number in range(3000):
        message = {"jsonrpc": "2.0", "id": number, **chance.choice(seeds)}
        data = bytearray(json.dumps(message).encode())
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 12)] = chance.choice(pieces)
        before = len(bench.sink.answers)
        bench.talk.take(bytes(data))
        assert len(bench.sink.answers) <= before + 1
    assert all(answer.get("error", {}).get("code") != -32603 for answer in bench.sink.answers)
