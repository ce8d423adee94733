"""The router between a real link and real servers: eras, keys, limits, switch and control."""

import asyncio
import contextlib
import sys
from typing import Any

import msgspec
import pytest

from central_mcp.link import Link
from central_mcp.protocol.errors import InvalidParams, Limited, MethodNotFound, Unavailable
from central_mcp.protocol.frames import Head, Kind
from tests.integration.routing import Cloud, body, call, story, tool, until
from tests.peers import SERVERS, sdk1_python


def test_a_legacy_and_a_modern_server_answer_callers_of_both_eras() -> None:
    cloud = Cloud()
    cloud.add("old")
    cloud.add("new", "modern")

    async def told() -> None:
        async with cloud.link() as link:
            for server, era in (("old", "legacy"), ("new", "modern")):
                for front in ("legacy", "modern"):
                    eras: list[str] = []
                    answered = asyncio.Event()

                    def done(head: Head, _: bytes, eras: list[str] = eras, answered: asyncio.Event = answered) -> None:
                        eras.append(head.era)
                        answered.set()

                    link.call(tool(server, "echo", era=front), body("echo", text="x"), done)
                    await answered.wait()
                    assert eras == [era]
            assert (await cloud.status("old@1"))["eras"] == ["legacy"]
            assert (await cloud.status("new@1"))["eras"] == ["modern"]

    story(cloud, told)


def test_the_sdk_of_both_generations_serves_progress_cancellation_and_errors() -> None:
    cloud = Cloud()
    cloud.add("two", argv=[sys.executable, SERVERS / "sdk2.py"], sessions="per-principal", eras=("legacy", "modern"))
    cloud.add("one", argv=[sdk1_python(), SERVERS / "sdk1.py"])

    async def told() -> None:
        notes: list[tuple[str, Any]] = []

        def noted(_: int, head: Head, params: bytes) -> None:
            notes.append((head.method, msgspec.json.decode(params)))

        async with cloud.link(on_note=noted) as link:
            for server, era in (("one", "legacy"), ("two", "legacy"), ("two", "modern")):
                head = {"era": era, "principal": "p/k"}
                assert await call(link, server, "echo", head, text="hé") == "hé"
                listed = await link.ask(Head(Kind.CALL, method="tools/list", server=server, **head), b"{}")  # type: ignore[arg-type]
                names = {each["name"] for each in msgspec.json.decode(listed)["tools"]}
                assert names >= {"echo", "fail", "work", "wait"}
                notes.clear()
                assert await call(link, server, "work", {**head, "progress": True}, steps=3) == "worked"
                assert notes == [("notifications/progress", {"progress": n, "total": 3}) for n in range(3)]
                assert await call(link, server, "work", head, steps=1) == "worked"
                failed = msgspec.json.decode(await link.ask(tool(server, "fail", **head), body("fail")))
                assert failed["isError"] is True
                waiting = asyncio.create_task(call(link, server, "wait", head))
                await until(lambda: link.open == 1, "the call")
                waiting.cancel()
                assert await call(link, server, "echo", head, text="after") == "after"
            two = await cloud.status("two@1")
            assert (two["sessions"], two["tool_errors"], two["open"]) == (2, 2, 0)  # one process an era

    story(cloud, told)


def test_the_modern_envelope_is_stamped_and_the_callers_own_meta_stays() -> None:
    cloud = Cloud()
    cloud.add("new", "modern")
    cloud.add("old")

    async def told() -> None:
        async with cloud.link() as link:

            async def meta(server: str, **head: Any) -> Any:
                params = b'{"name":"meta","arguments":{"_meta":1},\n"_meta":{"com.example/a":{"b":[1]}}}'
                result = msgspec.json.decode(await link.ask(tool(server, "meta", **head), params))
                return msgspec.json.decode(result["content"][0]["text"])

            mine = {"com.example/a": {"b": [1]}}
            caller = {"caps": b'{"elicitation":{"form":{}}}', "client": b'{"name":"ide","version":"1"}'}
            seen = await meta("new", era="modern", log_level="info", progress=True, **caller)
            assert isinstance(seen.pop("progressToken"), int)
            reserved = "io.modelcontextprotocol/"
            assert seen == {
                **mine,
                f"{reserved}protocolVersion": "2026-07-28",
                f"{reserved}clientCapabilities": {"elicitation": {"form": {}}},
                f"{reserved}clientInfo": {"name": "ide", "version": "1"},
                f"{reserved}logLevel": "info",
            }
            legacy_caller = await meta("new", era="legacy", **caller)
            assert legacy_caller[f"{reserved}clientCapabilities"] == {}
            assert await meta("old", era="modern", log_level="info", **caller) == mine

    story(cloud, told)


def test_who_shares_a_process_depends_on_sessions() -> None:
    cloud = Cloud()
    cloud.add("everybody", sessions="shared")
    cloud.add("person", sessions="per-principal")
    cloud.add("client", sessions="per-client")

    async def told() -> None:
        async with cloud.link() as link:

            async def pid(server: str, principal: str, session: str) -> str:
                return await call(link, server, "pid", {"principal": principal, "session": session})

            callers = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "1")]
            for server, processes in (("everybody", 1), ("person", 2), ("client", 3)):
                assert len({await pid(server, *caller) for caller in callers}) == processes, server
            link.end("a", "1")
            await until(lambda: len(cloud.processes("client")) == 2, "the end of one client's process")
            assert len(cloud.processes("person")) == 2

    story(cloud, told)


def test_shared_replicas_take_the_load_up_to_their_most() -> None:
    cloud = Cloud()
    cloud.add("many", replicas_max=3, idle_s=0.5)

    async def told() -> None:
        async with cloud.link() as link:

            async def load() -> None:
                while len(cloud.processes("many")) < 3:
                    assert await call(link, "many", "progress", steps=1, every=0.01) == "done"

            await asyncio.gather(*(load() for _ in range(40)))
            await until(lambda: not cloud.processes("many"), "idle processes to close")

    story(cloud, told)


def test_an_always_server_is_open_before_the_first_call_and_comes_back() -> None:
    cloud = Cloud()
    cloud.add("here", start="always", replicas_min=2, replicas_max=2, idle_s=0.2)

    async def told() -> None:
        await until(lambda: len(cloud.processes("here")) == 2, "two processes")
        async with cloud.link() as link:
            with pytest.raises(Exception, match="exited with code 3"):
                await call(link, "here", "die")
        await until(lambda: len(cloud.processes("here")) == 2, "two processes again")
        async with cloud.link("engine") as engine:
            assert await engine.control("warm", {"server": "here", "release": 1}) == {"processes": 2}

    story(cloud, told)


def test_when_all_processes_are_busy_the_idle_one_makes_room_else_42900() -> None:
    cloud = Cloud()
    cloud.add("few", sessions="per-principal", max_sessions=2)

    async def told() -> None:
        async with cloud.link() as link:
            first = await call(link, "few", "pid", {"principal": "a"})
            hanging = asyncio.create_task(call(link, "few", "hang", {"principal": "b"}))
            await until(lambda: len(cloud.processes("few")) == 2, "two processes")
            second = await call(link, "few", "pid", {"principal": "c"})
            assert first != second
            link.call(tool("few", "hang", principal="c"), body("hang"), lambda *_: None)
            with pytest.raises(Limited, match="few has all 2 processes busy"):
                await call(link, "few", "pid", {"principal": "d"})
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)
            assert await call(link, "few", "echo", {"principal": "d"}, text="room") == "room"

    story(cloud, told)


def test_unknown_servers_and_releases_are_named_in_the_error() -> None:
    cloud = Cloud()
    cloud.add("known")
    cloud.add("known", release=2, state="staged", runner=False)
    cloud.add("staged", state="staged", runner=False)

    async def told() -> None:
        async with cloud.link() as link:
            with pytest.raises(Unavailable, match="there is no server ghost"):
                await call(link, "ghost", "echo")
            with pytest.raises(Unavailable, match="staged has no release that serves"):
                await call(link, "staged", "echo")
            with pytest.raises(Unavailable, match="only the engine"):
                await call(link, "known", "echo", {"release": 2})
            with pytest.raises(InvalidParams, match="JSON object"):
                await link.ask(tool("known", "echo", progress=True), b"[1]")
            assert await call(link, "known", "echo", text="still here") == "still here"
            with pytest.raises(Exception, match="may not send frame"):
                await link.control("status")

    story(cloud, told)


def test_list_changed_reaches_every_link() -> None:
    cloud = Cloud()
    cloud.add("s")
    cloud.add("two", argv=[sys.executable, SERVERS / "sdk2.py"], sessions="per-principal", eras=("legacy", "modern"))

    async def told() -> None:
        heard: list[tuple[str, str]] = []

        def changed(server: str, method: str) -> None:
            heard.append((server, method))

        async with cloud.link() as link, cloud.link(on_changed=changed):
            for _ in range(5):
                await call(link, "s", "changed")
            await until(lambda: heard, "the notification")
            assert set(heard) == {("s", "notifications/tools/list_changed")}
            for era in ("legacy", "modern"):
                heard.clear()
                await call(link, "two", "grow", {"era": era})
                await until(lambda: heard, f"the {era} notification")
                assert set(heard) == {("two", "notifications/tools/list_changed")}

    story(cloud, told)


def test_a_switch_under_load_fails_no_call_and_drains_the_old_release() -> None:
    cloud = Cloud()
    cloud.add("app", release=1)
    cloud.add("app", release=2, state="staged")

    async def told() -> None:
        async with cloud.link() as link, cloud.link("engine") as engine:
            answers: list[str] = []
            stop = asyncio.Event()

            async def load() -> None:
                while not stop.is_set():
                    answers.append(await call(link, "app", "pid"))

            slow = asyncio.create_task(call(link, "app", "progress", steps=20, every=0.05))
            loads = [asyncio.create_task(load()) for _ in range(8)]
            probed = await engine.control("probe", {"server": "app", "release": 2, "deadline_ms": 60_000})
            assert probed["eras"] == ["legacy"]
            assert probed["serverInfo"] == {"name": "plain", "version": "1"}
            assert await call(engine, "app", "echo", {"release": 2}, text="gate") == "gate"
            await until(lambda: len(answers) > 50, "load on the old release")
            cloud.change("app", 1, state="draining")
            cloud.change("app", 2, state="serving", eras=("legacy",))
            version = cloud.publish()
            assert await engine.control("reload", {"version": version}) == {"version": version}
            new = await call(link, "app", "pid")
            assert int(new) in cloud.processes("app", 2)
            drained = await engine.control("drain", {"server": "app", "release": 1, "timeout_ms": 60_000})
            assert drained == {"open": 0}
            assert await slow == "done"
            await until(lambda: not cloud.processes("app", 1), "the end of the old processes")
            cloud.drop("app", 1)
            await engine.control("reload", {"version": cloud.publish()})
            stop.set()
            await asyncio.gather(*loads)
            assert len(set(answers)) == 2
            servers = (await engine.control("status"))["servers"]
            assert set(servers) == {"app@2"}
            assert servers["app@2"]["errors"] == 0

    story(cloud, told)


def test_a_drain_that_takes_too_long_ends_the_calls_and_says_how_many() -> None:
    cloud = Cloud()
    cloud.add("app")

    async def told() -> None:
        async with cloud.link() as link, cloud.link("engine") as engine:
            hanging = asyncio.create_task(call(link, "app", "hang"))
            await until(lambda: cloud.processes("app"), "the process")
            with pytest.raises(InvalidParams, match="is the one that serves"):
                await engine.control("drain", {"server": "app", "release": 1})
            cloud.change("app", 1, state="draining")
            await engine.control("reload", {"version": cloud.publish()})
            drained = await engine.control("drain", {"server": "app", "release": 1, "timeout_ms": 100})
            assert drained == {"open": 1}
            with pytest.raises(Exception, match="release 1 is retired"):
                await hanging
            await until(lambda: not cloud.processes("app"), "the end of the process")

    story(cloud, told)


def test_a_probe_finds_both_eras_and_names_each_way_to_fail() -> None:
    cloud = Cloud()
    staged: dict[str, Any] = {"state": "staged", "sessions": "per-principal"}
    cloud.add("both", "both", **staged)
    cloud.add("ignore", "ignore", **staged)
    cloud.add("touchy", "touchy", **staged)
    cloud.add("crash", "crash", **staged)
    cloud.add("silent", "silent", **staged)
    cloud.add("garbage", "garbage", **staged)
    cloud.add("norunner", runner=False, **staged)

    async def told() -> None:
        async with cloud.link("engine") as engine:

            async def probe(server: str, deadline_ms: int = 60_000) -> Any:
                return await engine.control("probe", {"server": server, "release": 1, "deadline_ms": deadline_ms})

            assert (await probe("both"))["eras"] == ["legacy", "modern"]
            await until(lambda: len(cloud.processes("both")) == 1, "the second process to end")
            assert (await probe("ignore"))["eras"] == ["legacy"]
            assert (await probe("touchy"))["eras"] == ["legacy"]
            with pytest.raises(Unavailable, match="crash exited with code 1: Traceback: no module") as crash:
                await probe("crash")
            assert crash.value.data["stderr"] == ["Traceback: no module named nothing"]
            with pytest.raises(Unavailable, match=r"silent did not answer initialize within 0\.5 s"):
                await probe("silent", 500)
            with pytest.raises(Unavailable, match="garbage answered with what is not JSON-RPC: <html>404"):
                await probe("garbage", 500)
            with pytest.raises(Unavailable, match="norunner its runner does not answer at"):
                await probe("norunner")
            with pytest.raises(Unavailable, match="no release 9"):
                await engine.control("probe", {"server": "both", "release": 9})
            with pytest.raises(MethodNotFound, match="not 'dance'"):
                await engine.control("dance")
            with pytest.raises(InvalidParams, match="release"):
                await engine.control("probe", {"server": "both"})
            head = {"release": 1, "era": "modern"}
            (probed,) = cloud.processes("both")
            assert await call(engine, "both", "pid", head) == str(probed)  # the gate's calls find the probed process
            engine.end("", "gate")
            for server in ("silent", "garbage", "crash", "both"):
                await until(lambda server=server: not cloud.processes(server), f"nothing left of {server}")  # type: ignore[misc]

    story(cloud, told)


def test_a_restarted_router_serves_again_and_processes_of_the_old_one_end() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            before = await call(link, "s", "pid")
        cloud.kill_router()
        await asyncio.to_thread(cloud.start_router)
        async with cloud.link() as link:
            assert await call(link, "s", "pid") != before
        await until(lambda: len(cloud.processes("s")) == 1, "the old process to end")

    story(cloud, told)


def test_a_message_of_the_wrong_kind_closes_only_its_own_link() -> None:
    cloud = Cloud()
    cloud.add("s")

    async def told() -> None:
        async with cloud.link() as link:
            for garbage in (b"\xff" * 64, b"\x00\x00\x00\x08\x00\x04\x93\x01\x63\x00xx", b"GET / HTTP/1.1\r\n\r\n"):
                reader, writer = await asyncio.open_unix_connection(str(cloud.home.router_socket))
                writer.write(garbage)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
            assert await call(link, "s", "echo", text="fine") == "fine"
        assert isinstance(link, Link)

    story(cloud, told)
