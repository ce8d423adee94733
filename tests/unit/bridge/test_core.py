"""The bridge's rules, message by message: no socket, no process, a clock of its own."""

import json
from typing import Any

import pytest

from central_bridge import answers
from central_bridge.answers import Trouble
from central_bridge.calls import MAX_TRIES, WINDOW
from central_bridge.core import HEDGE_S, MAX_WAITING, Core
from central_bridge.session import Link

VERSION = answers.META_VERSION
ENVELOPE = {VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
REFUSED = Trouble("connection refused", "Check HOST.")
WRONG_KEY = Trouble("the API key was refused (HTTP 401)", "Make a new one.", answers.REFUSED_KEY, final=True)
TOOLS = [
    {"name": "safe", "annotations": {"readOnlyHint": True}},
    {"name": "again", "annotations": {"idempotentHint": True}},
    {"name": "once", "annotations": {"readOnlyHint": False}},
    {"name": "bare"},
]


class Bench:
    """A core with both its sides in hand; `out` and `sent` are all lines and frames so far."""

    def __init__(self, broken: str | None = None, limit: int = 10_000) -> None:
        self.now = 100.0
        self.logged: list[str] = []
        log = lambda level, text: self.logged.append(f"{level}: {text}")  # noqa: E731
        self.core = Core("ws://vm:3000/mcp", wait_s=30, limit=limit, broken=broken, log=log)
        self.out: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    def _take(self) -> None:
        self.out += [json.loads(line) for line in self.core.voice.lines]
        self.sent += [json.loads(frame) for frame in self.core.to_vm]
        self.core.voice.lines, self.core.to_vm = [], []

    def line(self, message: Any) -> None:
        self.core.line(message if isinstance(message, bytes) else json.dumps(message).encode(), self.now)
        self._take()

    def frame(self, message: Any) -> None:
        self.core.frame(message if isinstance(message, bytes) else json.dumps(message).encode(), self.now)
        self._take()

    def request(self, id: Any, method: str, **params: Any) -> None:
        self.line({"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": ENVELOPE}})

    def call(self, id: Any, tool: str) -> None:
        self.request(id, "tools/call", name=tool, arguments={})

    def answer(self, id: Any, **result: Any) -> None:
        self.frame({"jsonrpc": "2.0", "id": id, "result": result})

    def up(self) -> "Bench":
        self.core.up(self.now)
        self._take()
        return self

    def lost(self, why: str = "it was cut", **more: Any) -> None:
        self.core.lost(self.now, why, **more)
        self._take()

    def failed(self, trouble: Trouble = REFUSED) -> None:
        self.core.failed(self.now, trouble)
        self._take()

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self._take()

    def learn_tools(self) -> None:
        self.request("tools", "tools/list")
        self.answer("tools", tools=TOOLS)

    def initialize(self, id: Any = 0, version: str = "2025-11-25") -> None:
        params = {"protocolVersion": version, "capabilities": {"sampling": {}}, "clientInfo": {"name": "t"}}
        self.line({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params})

    def initialized(self) -> None:
        self.line({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def answers(self, id: Any) -> list[dict[str, Any]]:
        return [m for m in self.out if m.get("id") == id and type(m["id"]) is type(id) and "method" not in m]

    def error(self, id: Any) -> dict[str, Any]:
        (answer,) = self.answers(id)
        return answer["error"]  # type: ignore[no-any-return]

    def methods(self) -> list[str]:
        return [message.get("method", "answer") for message in self.sent]


def legacy_session() -> Bench:
    """Connected, with a legacy client that is ready."""
    bench = Bench().up()
    bench.initialize()
    bench.frame({"jsonrpc": "2.0", "id": bench.sent[0]["id"], "result": {"capabilities": {"tools": {}}}})
    bench.initialized()
    return bench


# Passing through


def test_bytes_pass_through_unchanged():
    core = Core("ws://vm/mcp", limit=1000, log=lambda level, text: None)
    core.up(0)
    raw = '{"id" : 7, "jsonrpc":"2.0","method":"tools/call","params":{"x":1.50,"ü":"\\u00fc"}}'.encode()
    core.line(raw + b"\r", 0)
    assert core.to_vm == [raw]
    answer = b'{"jsonrpc":"2.0","id":7,"result":{"n":1.0,"big":123456789012345678901234567890}}'
    core.frame(answer, 0)
    assert core.voice.lines == [answer]


def test_a_frame_with_line_breaks_becomes_one_line():
    core = Core("ws://vm/mcp", limit=1000, log=lambda level, text: None)
    core.up(0)
    core.frame(b'{\n "jsonrpc": "2.0",\n "method": "notifications/message"\n}', 0)
    assert core.voice.lines == [b'{"jsonrpc":"2.0","method":"notifications/message"}']


def test_ids_keep_their_type():
    bench = Bench().up()
    bench.request(7, "tools/list")
    bench.request("7", "prompts/list")
    bench.answer("7", prompts=[])
    bench.answer(7, tools=[])
    assert [message["id"] for message in bench.out] == ["7", 7]


def test_a_second_answer_to_an_id_is_dropped():
    bench = Bench().up()
    bench.call(1, "x")
    bench.answer(1, n=1)
    bench.answer(1, n=2)
    bench.answer(99)
    assert [message["result"] for message in bench.out] == [{"n": 1}]


@pytest.mark.parametrize("junk", [b"nonsense", b"[]", b"7", b'{"jsonrpc":"2.0","id":null,"error":{}}', b"\xff"])
def test_junk_from_the_coordinator_stays_away_from_stdout(junk: bytes):
    bench = Bench().up()
    bench.frame(junk)
    assert bench.out == []


def test_an_answer_to_what_was_not_asked_yet_is_not_taken():
    bench = Bench().up()
    bench.core.holding = True
    bench.call(1, "a")
    bench.answer(1, late="of an earlier request with this id")
    assert bench.out == []
    bench.core.drained()
    bench._take()
    bench.answer(1)
    assert len(bench.answers(1)) == 1


# What the client may send wrong


@pytest.mark.parametrize(
    ("line", "code", "id"),
    [
        (b"hello", -32700, None),
        (b"{", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":NaN}}', -32700, None),
        (b'\xff{"id":1}', -32700, None),
        (b"[" * 100_000, -32700, None),
        (b"[]", -32600, None),
        (b'"x"', -32600, None),
        (b'{"id":5}', -32600, 5),
        (b'{"id":null,"method":"tools/list"}', -32600, None),
        (b'{"id":1.5,"method":"tools/list"}', -32600, None),
        (b'{"id":true,"method":"tools/list"}', -32600, None),
        (b'{"id":{},"method":"tools/list"}', -32600, None),
    ],
)
def test_a_wrong_line_gets_one_error(line: bytes, code: int, id: int | None):
    bench = Bench().up()
    bench.line(line)
    (answer,) = bench.out
    assert (answer["error"]["code"], answer["id"]) == (code, id)
    assert bench.sent == []


def test_blank_lines_and_a_byte_order_mark_are_nothing():
    bench = Bench().up()
    bench.line(b"")
    bench.line(b" \r")
    bench.line(b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    assert (bench.out, bench.methods()) == ([], ["tools/list"])


def test_an_id_in_use_is_not_answered_twice():
    bench = Bench().up()
    bench.call(1, "x")
    bench.call(1, "y")
    bench.answer(1)
    assert len(bench.answers(1)) == 1
    assert bench.out[0]["id"] is None
    assert len(bench.sent) == 1


def test_an_oversize_line_is_answered_under_its_id():
    bench = Bench().up()
    bench.core.oversize(7, 99_999)
    bench.core.oversize(None, 99_999)
    bench._take()
    assert [(message["id"], message["error"]["code"]) for message in bench.out] == [(7, -32600), (None, -32600)]
    assert "99999 bytes" in bench.out[0]["error"]["message"]


def test_an_oversize_answer_becomes_an_error():
    bench = Bench(limit=1000).up()
    bench.call(1, "x")
    bench.answer(1, text="y" * 2000)
    assert "over the limit" in bench.error(1)["message"]


# Opening


def test_discover_is_answered_by_the_coordinator_when_it_is_there():
    bench = Bench().up()
    bench.request("server-discover-probe-1", "server/discover")
    bench.answer("server-discover-probe-1", supportedVersions=["2026-07-28"], instructions="real")
    assert bench.answers("server-discover-probe-1")[0]["result"]["instructions"] == "real"


def test_discover_is_answered_at_once_when_the_coordinator_is_known_to_be_away():
    bench = Bench()
    bench.failed()
    bench.request(1, "server/discover")
    result = bench.answers(1)[0]["result"]
    assert result["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
    assert result["capabilities"] == {"tools": {"listChanged": True}}
    assert "connection refused" in result["instructions"]
    assert result["_meta"][answers.META_SERVER]["name"] == "central-mcp"


def test_discover_waits_for_the_first_attempt_but_not_long():
    bench = Bench()
    bench.request(1, "server/discover")
    assert bench.out == []
    assert bench.core.due() == bench.now + HEDGE_S
    bench.passes(HEDGE_S)
    assert len(bench.answers(1)) == 1


def test_a_late_real_discover_result_is_learnt_and_not_relayed():
    bench = Bench().up()
    bench.request(1, "server/discover")
    bench.passes(HEDGE_S)
    bench.answer(1, capabilities={"prompts": {}}, instructions="real")
    assert len(bench.answers(1)) == 1
    bench.lost()
    bench.failed()
    bench.request(2, "server/discover")
    assert bench.answers(2)[0]["result"]["capabilities"] == {"prompts": {}}


def test_an_unknown_version_is_refused_with_the_known_ones():
    bench = Bench()
    bench.failed()
    params = {"_meta": {VERSION: "2031-01-01"}}
    bench.line({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": params})
    assert bench.error(1)["code"] == -32022
    assert bench.error(1)["data"]["requested"] == "2031-01-01"


def test_initialize_goes_out_under_an_id_of_the_bridge_and_comes_back_under_the_clients():
    bench = Bench().up()
    bench.initialize(id="init")
    assert bench.sent[0]["id"] != "init"
    assert bench.sent[0]["params"]["capabilities"] == {"sampling": {}}
    bench.frame({"jsonrpc": "2.0", "id": bench.sent[0]["id"], "result": {"serverInfo": {"name": "real"}}})
    assert bench.answers("init")[0]["result"] == {"serverInfo": {"name": "real"}}


@pytest.mark.parametrize(
    ("asked", "agreed"), [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2030-01-01", "2025-11-25")]
)
def test_initialize_is_answered_by_the_bridge_when_nobody_else_does(asked: str, agreed: str):
    bench = Bench()
    bench.initialize(version=asked)
    bench.failed()
    assert bench.answers(0)[0]["result"]["protocolVersion"] == agreed


def test_requests_wait_for_the_handshake_and_follow_it_in_order():
    bench = Bench()
    bench.initialize()
    bench.failed()
    bench.initialized()
    bench.line({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    bench.up()
    assert bench.methods() == ["initialize"]
    bench.frame({"jsonrpc": "2.0", "id": bench.sent[0]["id"], "result": {}})
    assert bench.methods() == ["initialize", "notifications/initialized", "tools/list"]
    assert len(bench.answers(0)) == 1


def test_a_refused_first_initialize_is_relayed():
    bench = Bench().up()
    bench.initialize()
    bench.frame({"jsonrpc": "2.0", "id": bench.sent[0]["id"], "error": {"code": -32602, "message": "no"}})
    assert bench.error(0) == {"code": -32602, "message": "no"}


def test_ping_is_answered_here():
    bench = Bench()
    bench.line({"jsonrpc": "2.0", "id": 3, "method": "ping"})
    assert bench.answers(3)[0]["result"] == {}


def test_a_ping_of_the_coordinator_is_answered_here():
    bench = Bench().up()
    bench.frame({"jsonrpc": "2.0", "id": "c", "method": "ping"})
    assert (bench.sent, bench.out) == ([{"jsonrpc": "2.0", "id": "c", "result": {}}], [])


def test_a_wrong_setting_is_the_answer_to_every_request():
    bench = Bench(broken="API_KEY is '${X}', but X is not set")
    bench.request(1, "server/discover")
    bench.initialize(id=2)
    bench.call(3, "x")
    for id in (1, 2, 3):
        assert bench.error(id) == {"code": answers.MISCONFIGURED, "message": "API_KEY is '${X}', but X is not set"}


# Waiting


def test_requests_wait_for_a_connection_and_go_out_in_order():
    bench = Bench()
    bench.call(1, "a")
    bench.call(2, "b")
    assert bench.out == []
    bench.up()
    assert [message["id"] for message in bench.sent] == [1, 2]


def test_waiting_ends_with_one_error_that_names_url_cause_and_next_step():
    bench = Bench()
    bench.call(1, "a")
    bench.failed()
    bench.passes(29)
    assert bench.out == []
    bench.passes(1.1)
    error = bench.error(1)
    assert error["code"] == answers.UNAVAILABLE
    for part in ("ws://vm:3000/mcp", "connection refused", "Check HOST.", "30 s"):
        assert part in error["message"]
    bench.up()
    assert bench.sent == []


def test_a_refused_key_is_told_at_once_to_those_who_wait_and_those_who_come():
    bench = Bench()
    bench.call(1, "a")
    bench.failed(WRONG_KEY)
    bench.call(2, "a")
    assert [bench.error(id)["code"] for id in (1, 2)] == [40100, 40100]


def test_the_waiting_line_is_bounded():
    bench = Bench()
    for id in range(MAX_WAITING + 1):
        bench.call(id, "a")
    assert "Too many" in bench.error(MAX_WAITING)["message"]
    assert len(bench.out) == 1


def test_no_more_than_a_window_is_under_way():
    bench = Bench().up()
    for id in range(WINDOW + 2):
        bench.call(id, "a")
    assert len(bench.sent) == WINDOW
    bench.answer(0)
    assert bench.sent[-1]["id"] == WINDOW
    bench.line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": WINDOW + 1}})
    bench.answer(1)
    assert len(bench.sent) == WINDOW + 1


def test_a_full_wire_holds_requests_back():
    bench = Bench().up()
    bench.core.holding = True
    bench.call(1, "a")
    assert bench.sent == []
    bench.core.drained()
    bench._take()
    assert bench.methods() == ["tools/call"]


# Losing the connection


def test_what_was_under_way_is_repeated_only_when_that_is_safe():
    bench = Bench().up()
    bench.learn_tools()
    for id, tool in enumerate(["safe", "again", "once", "bare", "unheard"]):
        bench.call(id, tool)
    bench.request("list", "resources/list")
    bench.request("read", "resources/read", uri="file:///a")
    bench.sent.clear()
    bench.lost()
    for id in (2, 3, 4):
        assert bench.error(id)["code"] == answers.OUTCOME_UNKNOWN
    assert "tools/call 'once'" in bench.error(2)["message"]
    bench.up()
    assert [message["id"] for message in bench.sent] == [0, 1, "list", "read"]
    for id in (0, 1, "list", "read"):
        bench.answer(id)
        assert len(bench.answers(id)) == 1


def test_hints_are_those_of_the_last_list():
    bench = Bench().up()
    bench.learn_tools()
    bench.request("l", "tools/list")
    bench.answer("l", tools=[{"name": "safe", "annotations": {"readOnlyHint": "yes"}}])
    bench.call(1, "safe")
    bench.lost()
    assert bench.error(1)["code"] == answers.OUTCOME_UNKNOWN


def test_what_was_never_written_is_sent_again_whatever_it_is():
    bench = Bench().up()
    bench.core.holding = True
    bench.call(1, "once")
    bench.lost()
    assert bench.out == []
    bench.up()
    assert bench.methods() == ["tools/call"]


def test_a_request_that_costs_the_connection_is_not_repeated_for_ever():
    bench = Bench()
    bench.request(1, "tools/list")
    for _ in range(MAX_TRIES):
        bench.up()
        bench.lost()
    assert bench.error(1)["code"] == answers.OUTCOME_UNKNOWN
    bench.up()
    assert len(bench.sent) == MAX_TRIES


def test_a_message_over_the_coordinators_limit_gets_the_blame_and_is_not_repeated():
    bench = Bench().up()
    bench.request(1, "prompts/get", name="x" * 5000)
    bench.request(2, "tools/list")
    bench.lost("closed by central-mcp with code 1009", too_big=True)
    assert "over the coordinator's limit" in bench.error(1)["message"]
    assert bench.answers(2) == []


def test_a_repeated_request_that_finds_no_connection_gets_its_error_in_time():
    bench = Bench().up()
    bench.request(1, "tools/list")
    bench.passes(100)
    bench.lost()
    bench.failed()
    bench.passes(29)
    assert bench.out == []
    bench.passes(2)
    assert bench.error(1)["code"] == answers.UNAVAILABLE


def test_a_legacy_session_is_opened_again_unseen_and_told_to_ask_again():
    bench = legacy_session()
    bench.line({"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel", "params": {"level": "info"}})
    bench.answer(5)
    bench.line({"jsonrpc": "2.0", "id": 6, "method": "resources/subscribe", "params": {"uri": "file:///a"}})
    bench.answer(6)
    bench.sent.clear()
    bench.out.clear()
    bench.lost()
    bench.up()
    bench.answer(bench.sent[0]["id"], capabilities={"tools": {}, "prompts": {}})
    replayed = ["initialize", "notifications/initialized", "logging/setLevel", "resources/subscribe"]
    assert bench.methods() == replayed
    bench.answer(bench.sent[2]["id"])
    bench.answer(bench.sent[3]["id"])
    assert [message["method"] for message in bench.out] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/updated",
    ]


def test_a_first_connection_that_comes_late_makes_the_client_ask_again():
    bench = Bench()
    bench.initialize()
    bench.failed()
    bench.initialized()
    bench.up()
    bench.answer(bench.sent[0]["id"])
    assert bench.out[-1]["method"] == "notifications/tools/list_changed"


def test_listens_are_opened_again_and_then_say_that_something_may_have_changed():
    bench = Bench().up()
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}
    bench.request("listen-1", "subscriptions/listen", notifications=wanted)
    meta = {answers.META_SUBSCRIPTION: "listen-1"}
    ack = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}}
    bench.frame(ack)
    assert bench.out == [ack]
    bench.lost()
    bench.up()
    assert [message["id"] for message in bench.sent] == ["listen-1", "listen-1"]
    assert len(bench.out) == 1
    bench.frame(ack)
    methods = [message["method"] for message in bench.out[1:]]
    assert methods == ["notifications/tools/list_changed", "notifications/resources/updated"]
    assert all(message["params"]["_meta"] == meta for message in bench.out[1:])


def test_a_listen_outlasts_an_outage():
    bench = Bench()
    bench.request("l", "subscriptions/listen", notifications={"toolsListChanged": True})
    bench.failed(WRONG_KEY)
    bench.passes(3600)
    assert bench.out == []
    bench.up()
    assert bench.methods() == ["subscriptions/listen"]


def test_a_listen_that_the_coordinator_ends_by_cancelling_gets_its_final_result():
    bench = Bench().up()
    bench.request("l", "subscriptions/listen", notifications={})
    bench.frame({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "l"}})
    bench.answer("l", resultType="complete")
    assert bench.answers("l") == [
        {"jsonrpc": "2.0", "id": "l", "result": {"resultType": "complete", "_meta": {answers.META_SUBSCRIPTION: "l"}}}
    ]


# Cancelling and requests of the coordinator


def test_a_cancelled_call_is_withdrawn_and_never_answered():
    bench = Bench().up()
    bench.call(1, "a")
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    bench.line(cancel)
    assert bench.sent[-1] == cancel
    bench.answer(1)
    bench.lost()
    assert bench.out == []


def test_a_waiting_call_that_is_cancelled_is_never_sent():
    bench = Bench()
    bench.call(1, "a")
    bench.line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    bench.up()
    assert (bench.sent, bench.out) == ([], [])


def test_cancelling_the_string_does_not_cancel_the_number():
    bench = Bench().up()
    bench.call(1, "a")
    bench.line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "1"}})
    bench.answer(1)
    assert len(bench.answers(1)) == 1


def test_a_question_of_the_coordinator_is_answered_on_its_own_connection_only():
    bench = legacy_session()
    bench.sent.clear()
    question = {"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": {}}
    bench.frame(question)
    assert bench.out[-1] == question
    bench.line({"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept"}})
    assert bench.sent == [{"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept"}}]
    bench.frame({**question, "id": "q2"})
    bench.lost()
    assert bench.out[-1]["method"] == "notifications/cancelled"
    assert bench.out[-1]["params"]["requestId"] == "q2"
    bench.line({"jsonrpc": "2.0", "id": "q2", "result": {"action": "accept"}})
    assert len(bench.sent) == 1


def test_busy_until_the_last_answer():
    bench = Bench().up()
    bench.request("l", "subscriptions/listen", notifications={})
    assert not bench.core.busy
    bench.call(1, "a")
    assert bench.core.busy
    bench.answer(1)
    assert not bench.core.busy


def test_the_link_knows_its_moves():
    bench = Bench()
    with pytest.raises(AssertionError):
        bench.core._move(Link.READY)
