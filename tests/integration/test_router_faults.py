"""What the router loses when a server, a link or a caller misbehaves: nothing but the call concerned."""

import asyncio
import os
import signal
import sys
import time
from typing import Any

import msgspec
import pytest

from central_mcp.link import Redial
from central_mcp.protocol.errors import InternalError, Limited, OutcomeUnknown, ProtocolError, TimedOut, Unavailable
from central_mcp.protocol.frames import VERSION, Head, Kind, encode
from tests.integration.routing import Cloud, body, call, story, tool, until
from tests.waiting import SECOND


def test_a_server_killed_in_a_call_gives_one_clear_error_and_the_next_call_works() -> None:
    cloud = Cloud()
    cloud.add("s")
    cloud.add("other")

    async def told() -> None:
        async with cloud.link() as link:
            assert await call(link, "s", "echo", text="x") == "x"
            calls = [asyncio.create_task(call(link, "s", "hang")) for _ in range(3)]
            await until(lambda: link.open == 3, "the calls")
            (pid,) = cloud.processes("s")
            os.kill(pid, signal.SIGKILL)
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, OutcomeUnknown)
                assert "server s (release 1) was killed by SIGKILL during tools/call" in str(error)
            assert await call(link, "s", "echo", text="again") == "again"
            with pytest.raises(OutcomeUnknown, match="exited with code 7: about to die") as died:
                await call(link, "s", "die", code=7)
            assert died.value.data["stderr"] == ["about to die"]
            assert await call(link, "other", "echo", text="untouched") == "untouched"

    story(cloud, told)


def test_a_call_without_effects_survives_the_death_of_its_process() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            assert await call(link, "s", "echo", text="x") == "x"
            (pid,) = cloud.processes("s")
            os.kill(pid, signal.SIGSTOP)  # so that the list is surely under way
            listed = asyncio.create_task(link.ask(Head(Kind.CALL, method="tools/list", server="s")))
            await until(lambda: link.open == 1, "the call")
            os.kill(pid, signal.SIGKILL)
            assert b"echo" in await listed

    story(cloud, told)


def test_a_server_that_cannot_start_says_why_and_when_it_is_tried_again() -> None:
    cloud = Cloud()
    cloud.add("crash", "crash")
    cloud.add("never", "crash", restart="never")

    async def told() -> None:
        async with cloud.link() as link:
            texts = []
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    await call(link, "crash", "echo")
                texts.append(str(caught.value))
                assert caught.value.data["server"] == "crash"
                assert caught.value.data["stderr"] == ["Traceback: no module named nothing"]
            for text in texts:
                assert text.startswith("server crash (release 1) exited with code 1: Traceback: no module named")
                assert "; next try in " in text
            for _ in range(2):
                with pytest.raises(Unavailable, match="it stays down until the next deploy"):
                    await call(link, "never", "echo")
            report = await cloud.status("crash@1")
            assert (report["failures"] >= 1, report["sessions"], report["errors"]) == (True, 0, 2)

    story(cloud, told)


def test_a_sick_server_delays_no_other() -> None:
    cloud = Cloud()
    for number in range(4):
        cloud.add(f"silent{number}", "silent")
        cloud.add(f"garbage{number}", "garbage")
    cloud.add("slow", "late=1")
    for number in range(10):
        cloud.add(f"well{number}")

    async def told() -> None:
        async with cloud.link() as link:
            sick = [
                asyncio.create_task(call(link, f"{kind}{n}", "echo", {"deadline": 60_000}))
                for kind in ("silent", "garbage")
                for n in range(4)
            ]
            slow = asyncio.create_task(call(link, "slow", "echo", text="at last"))
            await until(lambda: link.open == 9, "the sick ones' calls")
            well = [call(link, f"well{n}", "echo", text=str(n)) for n in range(10)]
            assert await asyncio.gather(*well) == [str(n) for n in range(10)]
            assert not any(task.done() for task in sick)
            assert await slow == "at last"
            for task in sick:
                task.cancel()
            await asyncio.gather(*sick, return_exceptions=True)

    story(cloud, told)


def test_noise_on_stdout_is_counted_and_hurts_no_call() -> None:
    cloud = Cloud()
    cloud.add("s", "banner")

    async def told() -> None:
        async with cloud.link() as link:
            waiting = asyncio.create_task(call(link, "s", "hang"))
            assert await call(link, "s", "stray") == "fine"
            assert await call(link, "s", "echo", text="x") == "x"
            assert not waiting.done()
            noise = (await cloud.status("s@1"))["noise"]
            assert noise == 7  # two lines of banner, two answers to nothing, a batch, broken JSON, broken UTF-8
            logged = [line["line"] for line in cloud.router_log() if line["event"] == "server.noise"]
            assert "Welcome to plain 1.0!" in logged
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    story(cloud, told)


@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc":"2.0","id":ID}',
        '{"jsonrpc":"2.0","id":ID,"result":7}',
        '{"jsonrpc":"2.0","id":ID,"error":"no"}',
        '{"jsonrpc":"2.0","id":ID,"error":{"code":"x","message":1}}',
    ],
)
def test_an_answer_that_is_none_is_an_error_of_that_call_alone(line: str) -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            with pytest.raises(InternalError, match="neither a result nor an error"):
                await call(link, "s", "bad", line=line)
            assert await call(link, "s", "echo", text="x") == "x"

    story(cloud, told)


def test_a_result_over_16_mib_is_an_error_and_8_mib_pass_whole() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            assert len(await call(link, "s", "big", size=8 << 20)) == 8 << 20
            with pytest.raises(InternalError, match="the limit is 16777216"):
                await call(link, "s", "big", size=17 << 20)
            assert await call(link, "s", "echo", text="x") == "x"

    story(cloud, told)


def test_a_silent_call_times_out_and_one_that_shows_progress_does_not() -> None:
    cloud = Cloud()
    cloud.add("s", call_s=1.0)

    async def told() -> None:
        async with cloud.link() as link:
            before = await call(link, "s", "pid")
            with pytest.raises(TimedOut, match=r"server s did not answer tools/call .*limits\.call is 1 s"):
                await call(link, "s", "hang")
            assert await call(link, "s", "pid") != before  # a process that hung is not trusted again
            assert await call(link, "s", "progress", {"progress": True}, steps=10, every=0.2) == "done"
            with pytest.raises(TimedOut):
                await call(link, "s", "progress", {"progress": True, "deadline": 300}, steps=10, every=0.2)

    story(cloud, told)


def test_cancellation_reaches_the_server_and_the_late_answer_is_dropped() -> None:
    cloud = Cloud()
    cloud.add("s", "tell")

    async def told() -> None:
        async with cloud.link() as link:
            answers: list[bytes] = []
            number = link.call(
                tool("s", "progress"), body("progress", steps=3, every=0.1), lambda h, b: answers.append(b)
            )
            await until(lambda: cloud.processes("s"), "the process")
            await until(_written(cloud, "s@1"), "the call to be under way")
            link.cancel(number)
            await until(lambda: '"reason": "the client cancelled"' in cloud.log("s"), "the server to hear of it")
            assert await call(link, "s", "echo", text="x") == "x"
            assert answers == []
            assert (await cloud.status("s@1"))["noise"] == 0

    story(cloud, told)


def _written(cloud: Cloud, name: str) -> Any:
    async def look() -> bool:
        report = await cloud.status(name)
        return bool(report and report["open"] and report["sessions"])

    return look


def test_calls_wait_for_a_server_that_does_not_read_and_memory_stays_bounded() -> None:
    cloud = Cloud()
    cloud.add("deaf", "deaf", "both", eras=("legacy",))
    cloud.add("well")

    async def told() -> None:
        async with cloud.link() as link:
            big = "x" * 300_000
            tasks = [asyncio.create_task(call(link, "deaf", "echo", text="first"))]
            await until(_written(cloud, "deaf@1"), "the first call to be written")
            tasks += [asyncio.create_task(call(link, "deaf", "echo", text=big)) for _ in range(100)]
            await until(lambda: any(task.done() for task in tasks), "a refusal")
            refused = [task.exception() for task in tasks if task.done()]
            assert all(isinstance(error, Limited) for error in refused)
            assert all("does not read its input" in str(error) for error in refused)
            assert len(refused) < 60  # the others wait, up to the bound in bytes
            assert await call(link, "well", "echo", text="x") == "x"
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    story(cloud, told)


def test_requests_of_a_server_are_answered_or_refused_by_the_router() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            assert msgspec.json.decode(await call(link, "s", "ask")) == {"jsonrpc": "2.0", "id": "q1", "result": {}}
            refused = msgspec.json.decode(await call(link, "s", "ask", method="sampling/createMessage"))
            assert refused["error"]["code"] == -32601

    story(cloud, told)


def test_a_link_that_never_reads_is_closed_and_others_go_on() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            reader, writer = await asyncio.open_unix_connection(str(cloud.home.router_socket), limit=1024)
            writer.write(encode(Head(Kind.HELLO, VERSION, "coordinator")))
            await reader.readexactly(4)
            for number in range(1, 9):
                writer.write(encode(tool("s", "big", id=number), body("big", size=4 << 20)))
            await until(lambda: any("has read nothing" in str(line) for line in cloud.router_log()), "the closing")
            assert await call(link, "s", "echo", text="x") == "x"
            writer.transport.abort()

    story(cloud, told)


def test_a_killed_router_costs_one_error_per_open_call_and_comes_back() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        quiet: dict[str, Any] = {"on_note": lambda *_: None, "on_changed": lambda *_: None}
        redial = Redial(cloud.home.router_socket, "coordinator", **quiet)
        redial.start()
        try:
            await redial.wait_up(20 * SECOND)
            assert await call(redial, "s", "echo", text="x") == "x"  # type: ignore[arg-type]
            hanging = asyncio.create_task(call(redial, "s", "hang"))  # type: ignore[arg-type]
            await until(_written(cloud, "s@1"), "the call to be under way")
            cloud.kill_router()
            with pytest.raises(OutcomeUnknown):
                await hanging
            meanwhile = asyncio.create_task(call(redial, "s", "echo", text="y"))  # type: ignore[arg-type]
            await asyncio.to_thread(cloud.start_router)
            assert await meanwhile == "y"
        finally:
            redial.close()

    story(cloud, told)


def test_a_killed_runner_is_found_again_by_the_next_call() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            assert await call(link, "s", "echo", text="x") == "x"
            (number,) = cloud.runners
            runner = cloud.runners[number]
            runner.kill()
            runner.wait()
            waiting = asyncio.create_task(_patient(link))
            cloud.add("s")  # the supervisor's part
            assert await waiting == "y"

    async def _patient(link: Any) -> str:
        end = time.monotonic() + 30 * SECOND
        while True:
            try:
                return await call(link, "s", "echo", text="y")
            except ProtocolError:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)

    story(cloud, told)


def test_many_cold_servers_start_and_none_is_given_up() -> None:
    cloud = Cloud()
    for number in range(20):
        cloud.add(f"s{number}", "late=0.2")

    async def told() -> None:
        async with cloud.link() as link:
            calls = [call(link, f"s{number}", "echo", text=str(number)) for number in range(20)]
            assert await asyncio.gather(*calls) == [str(number) for number in range(20)]

    story(cloud, told)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_stranger_may_not_connect() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        for path in (cloud.folder, cloud.folder / "run"):
            path.chmod(0o755)
        cloud.home.router_socket.chmod(0o666)
        script = (
            "import os,socket,sys; os.setgid(65534); os.setuid(65534); s=socket.socket(socket.AF_UNIX);"
            "s.connect(sys.argv[1]); sys.exit(0 if s.recv(1) == b'' else 1)"
        )
        stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(cloud.home.router_socket))
        await stranger.wait()
        assert any("uid 65534 may not connect" in str(line) for line in cloud.router_log())
        async with cloud.link() as link:
            assert await call(link, "s", "echo", text="x") == "x"

    story(cloud, told)
