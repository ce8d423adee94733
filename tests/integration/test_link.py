"""Link and Redial against a scripted router on a real unix socket."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from central_mcp.link import Link, LinkLost, Redial, error_from
from central_mcp.protocol.errors import InvalidParams, Limited, OutcomeUnknown, Unavailable
from central_mcp.protocol.frames import VERSION, Decoder, Head, Kind, encode
from tests.waiting import SECOND


class ScriptedRouter:
    """Greets with `credit`, records frames, answers calls with their own body unless told to hold them."""

    def __init__(self, path: Path, credit: int = 100) -> None:
        self.path, self.credit = path, credit
        self.seen: list[tuple[Head, bytes]] = []
        self.hold = False
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    def send(self, head: Head, body: bytes = b"") -> None:
        self._writers[-1].write(encode(head, body))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        decoder = Decoder()
        while data := await reader.read(1 << 16):
            for head, body in decoder.feed(data):
                self.seen.append((head, body))
                if head.kind == Kind.HELLO:
                    self.send(Head(Kind.WELCOME, self.credit, instance="main#1"))
                elif head.kind in (Kind.CALL, Kind.CONTROL) and not self.hold:
                    self.send(Head(Kind.RESULT, head.id, era="legacy"), body)

    def ids(self, kind: Kind) -> list[int]:
        return [head.id for head, _ in self.seen if head.kind == kind]


async def until(condition: Callable[[], Any], what: str, limit: float = 20.0) -> None:
    end = asyncio.get_running_loop().time() + limit * SECOND
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"waited in vain for: {what}"
        await asyncio.sleep(0.005)


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="cm") as folder:
        yield Path(folder) / "r.sock"


def run(path: Path, story: Callable[[ScriptedRouter], Awaitable[None]], credit: int = 100) -> None:
    async def main() -> None:
        router = ScriptedRouter(path, credit)
        await router.start()
        try:
            await story(router)
        finally:
            await router.stop()

    asyncio.run(main())


class Heard:
    def __init__(self) -> None:
        self.notes: list[tuple[int, str, bytes]] = []
        self.changed: list[tuple[str, str]] = []
        self.lost: list[LinkLost] = []

    def options(self) -> dict[str, Any]:
        return {
            "on_note": lambda call_id, head, body: self.notes.append((call_id, head.method, body)),
            "on_changed": lambda server, method: self.changed.append((server, method)),
            "on_lost": self.lost.append,
        }


@asynccontextmanager
async def linked(path: Path, heard: Heard | None = None) -> Any:
    link = await Link.connect(path, "coordinator", **(heard or Heard()).options())
    try:
        yield link
    finally:
        link.close()


def test_a_link_greets_and_gets_the_answer_of_a_call(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        async with linked(path) as link:
            assert link.instance == "main#1"
            assert await link.ask(Head(Kind.CALL, method="tools/list", server="git"), b'{"a":1}') == b'{"a":1}'
            assert await link.control("status", {"x": 2}) == {"x": 2}
        hello = router.seen[0][0]
        assert (hello.kind, hello.id, hello.method) == (Kind.HELLO, VERSION, "coordinator")
        assert [head.kind for head, _ in router.seen[1:]] == [Kind.CALL, Kind.CONTROL]

    run(path, story)


def test_calls_beyond_the_credit_wait_in_order(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        router.hold = True
        async with linked(path) as link:
            done: list[int] = []
            ids = [link.call(Head(Kind.CALL), b"{}", lambda head, body: done.append(head.id)) for _ in range(5)]
            await until(lambda: len(router.ids(Kind.CALL)) == 2, "two calls")
            assert router.ids(Kind.CALL) == ids[:2]
            router.send(Head(Kind.RESULT, ids[0]), b"{}")
            await until(lambda: router.ids(Kind.CALL) == ids[:3], "the third call")
            assert done == ids[:1]

    run(path, story, credit=2)


def test_a_lost_link_tells_written_calls_apart_from_unwritten_ones(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        router.hold = True
        heard = Heard()
        async with linked(path, heard) as link:
            answers: dict[int, Exception] = {}

            def done(head: Head, body: bytes) -> None:
                assert head.id not in answers
                answers[head.id] = error_from(body)

            first, second = link.call(Head(Kind.CALL), b"{}", done), link.call(Head(Kind.CALL), b"{}", done)
            await until(lambda: router.ids(Kind.CALL) == [first], "the first call")
            await router.stop()
            await until(lambda: len(answers) == 2, "both answers")
            assert isinstance(answers[first], OutcomeUnknown)
            assert isinstance(answers[second], Unavailable)
            assert len(heard.lost) == 1
            with pytest.raises(Unavailable):
                await link.ask(Head(Kind.CALL))

    run(path, story, credit=1)


def test_a_cancelled_call_is_told_to_the_router_and_never_answered(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        router.hold = True
        async with linked(path) as link:
            answers: list[int] = []
            call = link.call(Head(Kind.CALL), b"{}", lambda head, body: answers.append(head.id))
            await until(lambda: router.ids(Kind.CALL), "the call")
            link.cancel(call)
            await until(lambda: router.ids(Kind.CANCEL) == [call], "the cancellation")
            router.send(Head(Kind.RESULT, call), b"{}")
            router.hold = False
            await link.ask(Head(Kind.CALL))
            assert answers == []
            waiting = asyncio.create_task(link.ask(Head(Kind.CALL)))
            router.hold = True
            await asyncio.sleep(0)
            waiting.cancel()
            await until(lambda: len(router.ids(Kind.CANCEL)) == 2, "the cancellation of the task's call")

    run(path, story)


def test_notes_and_changes_reach_their_listeners_and_errors_keep_their_class(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        router.hold = True
        heard = Heard()
        async with linked(path, heard) as link:
            asked = asyncio.create_task(link.ask(Head(Kind.CALL, method="tools/call")))
            await until(lambda: router.ids(Kind.CALL), "the call")
            (call,) = router.ids(Kind.CALL)
            router.send(Head(Kind.NOTE, call, "notifications/progress"), b'{"progress":1}')
            router.send(Head(Kind.NOTE, 999, "notifications/progress"), b"{}")
            router.send(Head(Kind.CHANGED, 0, "notifications/tools/list_changed", "git"))
            router.send(Head(Kind.ERROR, call), InvalidParams("bad", {"uri": "x"}).body())
            with pytest.raises(InvalidParams) as caught:
                await asked
            assert caught.value.data == {"uri": "x"}
            assert heard.notes == [(call, "notifications/progress", b'{"progress":1}')]
            assert heard.changed == [("git", "notifications/tools/list_changed")]

    run(path, story)


def test_a_callback_that_raises_hurts_no_other_call(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        async with linked(path) as link:

            def bad(head: Head, body: bytes) -> None:
                raise RuntimeError("bad callback")

            link.call(Head(Kind.CALL), b"{}", bad)
            assert await link.ask(Head(Kind.CALL), b"1") == b"1"

    run(path, story)


def test_connecting_to_nothing_says_where(path: Path) -> None:
    async def main() -> None:
        with pytest.raises(LinkLost, match=r"r\.sock"):
            await Link.connect(path, "engine", **Heard().options())

    asyncio.run(main())


def test_a_redial_survives_a_restart_of_the_router(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        ups: list[str] = []
        redial = Redial(path, "coordinator", **Heard().options(), on_up=ups.append)
        redial.start()
        try:
            assert await redial.ask(Head(Kind.CALL), b"1") == b"1"
            await router.stop()
            await until(lambda: not redial.up, "the loss")
            waiting = asyncio.create_task(redial.ask(Head(Kind.CALL, deadline=60_000), b"2"))
            hopeless = asyncio.create_task(redial.ask(Head(Kind.CALL, deadline=1), b"3"))
            with pytest.raises(Unavailable):
                await hopeless
            await router.start()
            assert await waiting == b"2"
            assert ups == ["main#1", "main#1"]
        finally:
            redial.close()
        with pytest.raises(Unavailable):
            await redial.ask(Head(Kind.CALL), b"4")

    run(path, story)


def test_a_redial_sends_what_a_lost_link_never_wrote(path: Path) -> None:
    async def story(router: ScriptedRouter) -> None:
        router.hold = True
        redial = Redial(path, "coordinator", **Heard().options())
        redial.start()
        try:
            await redial.wait_up(20 * SECOND)
            written = asyncio.create_task(redial.ask(Head(Kind.CALL), b"1"))
            unwritten = asyncio.create_task(redial.ask(Head(Kind.CALL), b"2"))
            await until(lambda: router.ids(Kind.CALL), "the first call")
            await router.stop()
            with pytest.raises(OutcomeUnknown):
                await written
            router.hold = False
            await router.start()
            assert await unwritten == b"2"
        finally:
            redial.close()

    run(path, story, credit=1)


def test_an_unknown_error_code_is_kept() -> None:
    assert error_from(b'{"code":-32042,"message":"open this"}').code == -32042
    assert isinstance(error_from(b'{"code":42900,"message":"slow down"}'), Limited)
    assert error_from(b"nonsense").code == -32603
