"""Each connection to a server's socket is a process of that server, and nothing outlives it."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.integration.runner.started import MAIN, PYTHON, started
from tests.waiting import wait_until

ECHO = ["/bin/cat"]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(script: str) -> list[str]:
    return [PYTHON, "-I", "-S", "-c", script]


def receive_all(connection: socket.socket) -> bytes:
    """Until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# a connection is the server's stdio


def test_a_connection_is_the_servers_stdin_and_stdout() -> None:
    with started(ECHO) as runner, runner.connect() as connection:
        big = os.urandom(8 << 20)

        def send() -> None:
            connection.sendall(big)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert receive_all(connection) == big
        sender.join()


def test_each_connection_is_a_process_of_its_own() -> None:
    with started(shell("echo $$; cat")) as runner:
        with runner.connect() as one, runner.connect() as two:
            pids = {int(one.recv(20)), int(two.recv(20))}
            assert len(pids) == 2
            children = wait_until(
                lambda: [c["pid"] for c in runner.status()["children"]] if runner.status()["starts"] == 2 else [],
                "status",
            )
            assert set(children) == pids
        runner.none_left()
        assert runner.status()["listening"]


def test_the_server_gets_its_environment_its_folder_and_three_descriptors(tmp_path: Path) -> None:
    script = (
        "import os,resource; print(dict(os.environ)); print(os.getcwd()); print(sorted(os.listdir('/proc/self/fd')))"
    )
    script += "; print(os.getsid(0)==os.getpid(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    with started(python(script), env={"A": "b c"}, cwd=str(tmp_path)) as runner, runner.connect() as connection:
        environment, folder, files, limits = receive_all(connection).decode().splitlines()
        pid = runner.last()["pid"]
        expected = {"A": "b c", "CENTRAL_PROCESS": f"{runner.socket}:{pid}", "LC_CTYPE": "C.UTF-8"}
        assert eval(environment).items() <= expected.items()
        assert folder == str(tmp_path)
        assert files == "['0', '1', '2', '3']"  # 3 is the listing itself
        assert limits == "True (256, 256)"


def test_a_half_closed_connection_still_brings_the_last_answer() -> None:
    script = "import sys,time; sys.stdin.read(); time.sleep(1.5); print('the last answer')"
    with started(python(script), grace_s=0.2) as runner, runner.connect() as connection:
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"the last answer\n"
        assert (runner.last()["code"], runner.last()["reason"]) == (0, None)


def test_only_named_uids_may_connect() -> None:
    with started(ECHO, uids=[os.getuid() + 1]) as runner:
        with runner.connect() as connection:
            assert receive_all(connection) == b""
        assert f"refused a connection from uid {os.getuid()}" in runner.log.read_text()
        assert runner.status()["starts"] == 0


def test_more_connections_than_the_cap_are_closed_at_once() -> None:
    with started(ECHO, connections=1) as runner, runner.connect() as one:
        one.sendall(b"x")
        assert one.recv(1) == b"x"
        with runner.connect() as two:
            assert receive_all(two) == b""
        one.sendall(b"y")
        assert one.recv(1) == b"y"


# how it ends


def test_the_peer_learns_of_a_death_though_a_grandchild_holds_the_connection() -> None:
    script = "(setsid sleep 1000 &); echo answer; exit 3"
    with started(shell(script)) as runner, runner.connect() as connection:
        assert receive_all(connection) == b"answer\n"
        assert runner.last()["code"] == 3
        runner.none_left()


@pytest.mark.parametrize(
    "script",
    [
        "cat",
        "trap '' TERM; cat; sleep 1000 & wait; sleep 1000",  # deaf to SIGTERM and to the end of stdin
        "sleep 1000 & setsid sleep 1000 & setsid sh -c 'trap \"\" TERM; sleep 1000 & wait' & cat; sleep 1000",
        "(setsid setsid sleep 1000 &) ; sleep 1000",  # double fork, a session of its own
        "setsid env -i sh -c 'sleep 1000; : WORD' & exec sleep 1000",  # with its mark wiped off
        "exec 1>&- 0<&-; sleep 1000",
        "kill -STOP $$",
    ],
)
def test_nothing_is_left_when_the_connection_closes(script: str) -> None:
    with started(shell(script), grace_s=0.4) as runner:
        with runner.connect():
            wait_until(lambda: runner.status()["starts"] == 1, "the server runs")
        runner.last()
        runner.none_left()
        wait_until(lambda: not children(runner.pid), "the runner has no child")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_server_that_outstays_its_connection_is_told_so_in_its_status() -> None:
    with started(shell("trap '' TERM; while :; do sleep 1000; done"), grace_s=0.4) as runner:
        runner.connect().close()
        with runner.connect():
            wait_until(lambda: runner.status()["starts"] >= 1, "the server runs")
        last = runner.last(runner.status()["starts"])
        assert last["signal"] == "SIGKILL"
        assert last["reason"] == "its connection was closed and it did not end within 0.2 s"


def test_sigterm_ends_every_process_and_removes_the_socket() -> None:
    with started(shell("trap '' TERM; (setsid sleep 1000 &); while :; do sleep 1000; done"), grace_s=0.4) as runner:
        with runner.connect() as one, runner.connect() as two:
            wait_until(lambda: runner.status()["starts"] == 2, "both run")
            assert runner.stop() == 0
            assert (receive_all(one), receive_all(two)) == (b"", b"")
        assert not runner.processes()
        assert not runner.socket.exists()
        status = runner.status()
        assert (status["listening"], status["children"], status["exits"]) == (False, [], 2)


def test_a_killed_server_costs_its_own_connection_only() -> None:
    with started(shell("echo $$; cat")) as runner, runner.connect() as one, runner.connect() as two:
        first, _ = int(one.recv(20)), int(two.recv(20))
        os.kill(first, signal.SIGSEGV)
        assert receive_all(one) == b""
        assert runner.last()["signal"] == "SIGSEGV"
        two.sendall(b"alive")
        assert two.recv(5) == b"alive"


def test_a_killed_runners_successor_ends_what_was_left() -> None:
    with (
        started(shell("sleep 1000 & setsid sleep 1000 & echo ready; exec cat")) as runner,
        runner.connect() as connection,
    ):
        assert connection.recv(10) == b"ready\n"
        wait_until(lambda: runner.status()["children"], "the status tells of the process")
        runner.process.kill()
        runner.process.wait()
        wait_until(lambda: len(runner.processes()) == 2, "the server itself died with its runner")
        runner.start()
        runner.none_left()
        with runner.connect() as again:
            assert again.recv(10) == b"ready\n"


def test_a_socket_that_a_newer_runner_has_taken_stays() -> None:
    with started(ECHO) as runner:
        old = runner.process
        runner.start()
        old.terminate()
        assert old.wait(20) == 0
        with runner.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert runner.status()["runner"] == runner.pid
        assert runner.status()["listening"]


def test_a_runner_ends_in_good_order_with_its_parent() -> None:
    with started(shell("(setsid sleep 1000 &); echo ready; cat"), start=False) as runner:
        runner.start(prefix=("/bin/sh", "-c", '"$@" & wait', "sh"))
        with runner.connect() as connection:
            assert connection.recv(10) == b"ready\n"
            runner.process.kill()  # the shell, not the runner
            assert receive_all(connection) == b""
        wait_until(lambda: not runner.status()["listening"], "the runner has ended")
        runner.none_left()
        assert not runner.socket.exists()


# what it tells


def test_what_a_server_writes_to_stderr_is_in_its_log_and_its_end_in_its_status() -> None:
    with started(shell("echo hello >&2; printf 'no newline' >&2; exit 7")) as runner:
        with runner.connect() as connection:
            receive_all(connection)
        last = runner.last()
        assert (last["code"], last["signal"], last["reason"]) == (7, None, None)
        assert last["stderr"] == ["hello", "no newline"]
        assert 0 <= last["lived_s"] < 60
        text = runner.log.read_text()
        assert re.search(rf"^\S+Z {last['pid']} hello$", text, re.MULTILINE)
        assert f"runner process {last['pid']} ended: code 7" in text
        assert set(runner.status()) == {
            *("id", "name", "release", "runner", "since", "listening", "children", "starts", "exits", "noise", "last")
        }


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (["/nowhere/server"], "/", "/nowhere/server: No such file or directory"),
        (["no-such-program"], "/", "no-such-program: No such file or directory"),
        (["/etc/passwd"], "/", "/etc/passwd: Permission denied"),
        (["/bin/cat"], "/nowhere", "/nowhere: No such file or directory"),
        (["SCRIPT"], "/", "the interpreter that its first line names is missing"),
    ],
)
def test_a_server_that_cannot_be_started_says_why(tmp_path: Path, argv: list[str], cwd: str, said: str) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nowhere/python\n")
    script.chmod(0o755)
    with started([str(script) if part == "SCRIPT" else part for part in argv], cwd=cwd) as runner:
        with runner.connect() as connection:
            assert receive_all(connection) == b""
        last = runner.last()
        assert last["code"] == 127
        assert last["reason"].startswith("cannot start git@12: ")
        assert said in last["reason"]
        assert last["reason"] in last["stderr"][-1]


def test_a_crash_loop_leaves_descriptors_and_processes_as_they_were() -> None:
    with started(shell("exit 1"), grace_s=0.2) as runner:
        before = descriptors(runner.pid)
        for _ in range(50):
            with runner.connect() as connection:
                receive_all(connection)
        runner.last(50)
        wait_until(lambda: descriptors(runner.pid) <= before + 1, "descriptors are back")  # + the log
        assert not runner.processes()


def test_a_thousand_abnormal_connections_leave_nothing() -> None:
    with started(shell("sleep 1000 & cat"), grace_s=0.2) as runner:
        before = descriptors(runner.pid)
        for number in range(1000):
            connection = runner.connect()
            if number % 20 == 0:
                connection.send(b'{"jsonrpc": "2.0", "id": ')
            connection.close()
        with runner.connect() as last:
            last.sendall(b"still here")
            assert last.recv(10) == b"still here"
        wait_until(lambda: not runner.processes() and not children(runner.pid), "no process is left")
        wait_until(lambda: descriptors(runner.pid) <= before + 1, "descriptors are back")


# what it withstands


def test_a_flood_on_stderr_is_capped_on_disk_and_other_connections_are_served() -> None:
    flood = "import os\nwhile True: os.write(2, b'x' * 99 + b'\\n' * 1)"
    script = f"import sys, os\nif sys.stdin.readline() == 'flood\\n':\n exec({flood!r})\nprint('calm', flush=True)"
    with started(python(script)) as runner, runner.connect() as bad, runner.connect() as good:
        bad.sendall(b"flood\n")
        wait_until(lambda: runner.status()["noise"] > 50_000, "a flood")
        good.sendall(b"calm\n")
        assert receive_all(good) == b"calm\n"
        sizes = [path.stat().st_size for path in runner.folder.glob("git.log*")]
        assert sum(sizes) < 5 << 20


def test_a_full_disk_stops_neither_the_runner_nor_a_server() -> None:
    script = "import sys\nfor line in sys.stdin:\n"
    script += " sys.stderr.write('e' * 5000 + '\\n'); sys.stderr.flush(); print('ok', flush=True)"
    with started(python(script)) as runner:
        resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        with runner.connect() as connection:
            for _ in range(40):
                connection.sendall(b"call\n")
                assert connection.recv(10) == b"ok\n"
            assert json.loads(runner.status_file.read_text())["starts"] == 0  # the old one, whole
            resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait_until(lambda: runner.status()["starts"] == 1, "the status is written as soon as it can be")
            connection.sendall(b"call\n")
            wait_until(lambda: "were lost" in runner.log.read_text(), "the log tells what it lost")


def test_a_server_over_its_memory_limit_is_ended_and_told_why() -> None:
    script = "import time\nx = bytearray(80 << 20)\nprint('grown', flush=True)\ntime.sleep(1000)"
    limits = {"files": 256, "memory": 50 << 20}
    with started(python(script), limits=limits) as runner, runner.connect() as connection:
        assert receive_all(connection) == b"grown\n"
        last = runner.last()
        assert last["signal"] == "SIGKILL"
        assert re.fullmatch(r"used \d+ MiB, more than limits.memory = 50 MiB", last["reason"])


def test_memory_of_a_daemon_that_left_counts_for_its_server() -> None:
    grow = "import os,time\nif os.fork(): time.sleep(1000)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    grow += "x = bytearray(80 << 20); time.sleep(1000)"
    with started(python(grow), limits={"files": 256, "memory": 50 << 20}) as runner, runner.connect() as connection:
        assert receive_all(connection) == b""
        assert "limits.memory" in runner.last()["reason"]
        runner.none_left()


def test_a_server_with_too_many_processes_is_ended_and_told_why() -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait"
    with started(shell(script), limits={"files": 256, "processes": 5}) as runner, runner.connect() as connection:
        assert receive_all(connection) == b""
        assert runner.last()["reason"] == "had 9 processes, more than limits.processes = 5"
        runner.none_left()


# what it is


def test_a_bad_table_is_refused_by_name() -> None:
    with started(ECHO, start=False) as runner:
        runner.table.write_text('{"servers": [{"id": 1}]}')
        ended = subprocess.run([PYTHON, "-I", "-S", MAIN, runner.table], capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert f"runner: {runner.table}: servers[0]: id: is a int" in ended.stderr


def test_a_runner_imports_the_small_half_of_the_standard_library_only() -> None:
    with started(ECHO) as runner:
        maps = Path(f"/proc/{runner.pid}/maps").read_text()
        assert "_ssl" not in maps
        rollup = Path(f"/proc/{runner.pid}/smaps_rollup").read_text()
        private_kib = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))
        assert private_kib < 5 << 10


def test_two_servers_share_one_runner() -> None:
    with started(shell("echo one; cat"), start=False) as runner:
        other = {**runner.entry, "id": "ba9876543210", "name": "other", "argv": ["/bin/sh", "-c", "echo two; cat"]}
        other |= {"socket": str(runner.folder / "s" / "ba9876543210.sock"), "status": str(runner.folder / "b.status")}
        try:
            runner.start(other)
            with runner.connect() as one, socket.socket(socket.AF_UNIX) as two:
                two.connect(other["socket"])
                assert (one.recv(10), two.recv(10)) == (b"one\n", b"two\n")
        finally:
            assert runner.stop() == 0
        assert not Path(other["socket"]).exists()
