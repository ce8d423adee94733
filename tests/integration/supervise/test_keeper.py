"""The keeper: supervisord comes back by itself, nothing runs twice, and nothing stays when it ends."""

import os
import resource
import shutil
import signal
import socket
from pathlib import Path

from central_mcp.supervise import SupervisorDown, keeper, leftovers
from tests.integration.supervise.cloud import Cloud, cloud
from tests.waiting import wait_until

STUBBORN = "(setsid sleep 1000 &); trap '' TERM; echo ready; while :; do sleep 1000; done"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def new_supervisord(made: Cloud, old: int) -> int:
    def pid() -> int:
        try:
            found = made.supervisor.pid()
        except SupervisorDown:
            return 0
        return found if found != old else 0

    return wait_until(pid, "another supervisord answers")


def running_as(made: Cloud, word: str) -> list[int]:
    """Living processes of the home with `word` in their command line."""
    found = []
    for pid in leftovers.marked(made.home):
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in text:
            found.append(pid)
    return found


def test_what_it_started_ends_with_it_and_no_socket_stays() -> None:
    with cloud() as made:
        stubborn, runner = made.program("stubborn", STUBBORN), made.runner("git", STUBBORN)
        made.up(stubborn, runner)
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"
            assert len(leftovers.marked(made.home)) >= 6
            assert keeper.stop(made.home)
        made.nothing_left()
        assert made.sockets() == []
        assert not keeper.stop(made.home)


def test_two_keepers_of_one_home_cannot_be() -> None:
    with cloud() as made:
        made.up()
        again = made.keep()
        assert again.returncode == 1
        assert "runs already" in again.stderr
        assert f"pid {keeper.running(made.home)}" in again.stderr
        assert made.supervisor.answers()


def test_a_killed_supervisord_comes_back_and_nothing_runs_twice() -> None:
    with cloud() as made:
        plain, runner = made.program("plain", "exec sleep 1234567", count=2), made.runner("git", STUBBORN)
        made.up(plain, runner)
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"
            old = made.supervisor.pid()
            kill(old)
            assert connection.recv(10) == b""
        new_supervisord(made, old)
        pids = made.running(plain, runner)
        assert sorted(running_as(made, "1234567")) == sorted(pids[:2])
        assert running_as(made, "main.py") == pids[2:]
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"


def test_a_killed_keeper_takes_everything_along_and_a_later_start_works() -> None:
    with cloud() as made:
        plain, runner = made.program("plain"), made.runner("git", STUBBORN)
        made.up(plain, runner)
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"
            pid = keeper.running(made.home)
            assert pid is not None
            kill(pid)
            made.nothing_left()
        started = made.keep()
        assert started.returncode == 0, started.stderr
        made.running(plain, runner)


def test_killed_programs_come_back() -> None:
    with cloud() as made:
        plain, runner = made.program("plain"), made.runner("git", STUBBORN)
        made.up(plain, runner)
        before = made.running(plain, runner)
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"
            for pid in before:
                kill(pid)
            assert connection.recv(10) == b""
        wait_until(lambda: not set(before) & set(made.running(plain, runner)), "both run anew")
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"
        assert len(running_as(made, "main.py")) == 1


def test_what_a_killed_keeper_could_not_take_along_stop_ends() -> None:
    with cloud() as made:
        made.up(made.program("daemon", "(setsid sh -c 'trap \"\" TERM; sleep 7654321' &) ; exec sleep 1000"))
        pid = keeper.running(made.home)
        assert pid is not None
        kill(pid)
        wait_until(lambda: keeper.running(made.home) is None, "the keeper is dead")
        assert keeper.stop(made.home)
        made.nothing_left()
        assert made.sockets() == []


def test_an_emptied_run_folder_and_stale_sockets_do_not_matter() -> None:
    with cloud() as made:
        plain = made.program("plain")
        made.up(plain)
        keeper.stop(made.home)
        shutil.rmtree(made.home.run)
        made.home.run.mkdir()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(made.home.router_socket))
        made.up(plain)
        assert not made.home.router_socket.exists()


def keeper_of(made: Cloud) -> int:
    pid = keeper.running(made.home)
    assert pid is not None
    return pid


def ended(pid: int) -> bool:
    return "State:\tZ" in status.read_text() if (status := Path(f"/proc/{pid}/status")).exists() else True


def test_a_keeper_whose_lock_file_was_deleted_gives_way_to_the_next() -> None:
    with cloud() as made:
        plain = made.program("plain")
        made.up(plain)
        first = keeper_of(made)
        shutil.rmtree(made.home.run)
        made.up(plain)
        wait_until(lambda: ended(first), "the first keeper has ended")
        assert keeper_of(made) != first
        assert len(running_as(made, "supervisord")) == 1


def test_a_deleted_lock_file_hides_no_keeper_from_stop() -> None:
    with cloud() as made:
        made.up(made.program("plain"))
        first = keeper_of(made)
        (made.home.run / keeper.LOCK).unlink()
        assert keeper.stop(made.home)
        wait_until(lambda: ended(first), "the keeper has ended")
        made.nothing_left()
        assert made.sockets() == []


def test_a_deleted_lock_file_stops_no_recovery() -> None:
    with cloud() as made:
        made.up()
        first, old = keeper_of(made), made.supervisor.pid()
        (made.home.run / keeper.LOCK).unlink()
        kill(old)
        new_supervisord(made, old)
        assert keeper_of(made) == first


def test_a_deleted_home_ends_what_ran_in_it() -> None:
    with cloud() as made:
        made.up(made.program("plain"))
        first = keeper_of(made)
        shutil.rmtree(made.home.root)
        wait_until(lambda: ended(first), "the keeper has ended")
        made.nothing_left()


def test_a_configuration_that_cannot_be_read_is_named_at_start() -> None:
    with cloud() as made:
        (made.home.etc / "programs" / "api.conf").write_text("[program:x]\nnumprocs=many\ncommand=/bin/true\n")
        started = made.keep()
        assert started.returncode == 1
        assert "api.conf: [program:x]:" in started.stderr
        assert "many" in started.stderr
        made.nothing_left()


def test_a_full_disk_stops_no_recovery() -> None:
    with cloud() as made:
        plain, runner = made.program("plain"), made.runner("git", STUBBORN)
        made.up(plain, runner)
        old, pid = made.supervisor.pid(), keeper.running(made.home)
        assert pid is not None
        for each in (pid, old, *made.running(plain, runner)):
            resource.prlimit(each, resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        kill(old)
        new_supervisord(made, old)
        before = made.running(plain, runner)
        for each in before:
            kill(each)
        wait_until(lambda: not set(before) & set(made.running(plain, runner)), "both run anew")
        with made.call(runner) as connection:
            assert connection.recv(10) == b"ready\n"


def test_other_users_cannot_reach_supervisord() -> None:
    with cloud() as made:
        made.up()
        assert made.home.supervisor_socket.stat().st_mode & 0o077 == 0
