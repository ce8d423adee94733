"""supervisord takes up what is new, drops what is gone, and touches nothing else."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_mcp.supervise import ProgramError, State, Supervisor, SupervisorDown
from tests.integration.supervise.cloud import Cloud, cloud
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def shared() -> Iterator[Cloud]:
    with cloud() as made:
        made.up()
        yield made


@pytest.fixture
def made(shared: Cloud) -> Iterator[Cloud]:
    """The shared supervisord without programs."""
    yield shared
    for path in (shared.home.etc / "programs").iterdir():
        path.unlink()
    shared.supervisor.apply()


def test_apply_touches_only_what_is_new_or_gone(made: Cloud) -> None:
    stays, goes, comes = made.program("a@1"), made.program("a@2"), made.program("a@3")
    made.configuration.put([stays, goes])
    assert set(made.supervisor.apply().added) == {"a@1", "a@2"}
    before = made.running(stays)
    made.configuration.put([comes])
    made.configuration.remove(["a@2"])
    changes = made.supervisor.apply()
    assert (changes.added, changes.changed, changes.removed) == (("a@3",), (), ("a@2",))
    made.running(comes)
    assert before == made.running(stays)
    with pytest.raises(ProgramError, match=r"a@2: supervisord has no such program"):
        made.supervisor.state("a@2")


def test_apply_again_changes_nothing(made: Cloud) -> None:
    made.configuration.put([made.program("a@1")])
    made.supervisor.apply()
    changes = made.supervisor.apply()
    assert (changes.added, changes.changed, changes.removed) == ((), (), ())


def test_apply_restarts_what_differs_but_for_what_is_kept(made: Cloud) -> None:
    made.configuration.put([made.program("engine"), made.program("router")])
    made.supervisor.apply()
    (engine,), (router,) = made.running(made.program("engine")), made.running(made.program("router"))
    made.configuration.put([made.program("engine", env={"A": "1"}), made.program("router", env={"A": "1"})])
    changes = made.supervisor.apply(keep=["engine"])
    assert changes.changed == ("router",)
    assert made.running(made.program("engine")) == [engine]
    assert made.running(made.program("router")) != [router]


def test_a_program_may_be_several_processes(made: Cloud) -> None:
    program = made.program("coordinator", "echo hello; exec sleep 1000", count=3)
    made.configuration.put([program])
    made.supervisor.apply()
    assert len(set(made.running(program))) == 3
    assert [p.name for p in made.supervisor.processes("coordinator")] == [f"coordinator:{n}" for n in range(3)]
    wait_until(lambda: made.supervisor.processes("coordinator")[2].output == ("hello",), "the last one's output")


def test_stop_and_start(made: Cloud) -> None:
    program = made.program("a@1")
    made.configuration.put([program])
    made.supervisor.apply()
    made.running(program)
    made.supervisor.stop("a@1")
    made.supervisor.stop("a@1")
    assert made.supervisor.state("a@1").state is State.STOPPED
    made.supervisor.start("a@1")
    made.supervisor.start("a@1")
    made.running(program)


def test_a_program_that_crashes_at_once_says_what_it_said_last(made: Cloud) -> None:
    flag = made.home.root / "flag"
    program = made.program("broken@1", f"echo broken >&2; test -e {flag} || exit 3; exec sleep 1000", start_s=1)
    made.configuration.put([program])
    made.supervisor.apply()
    wait_until(lambda: made.supervisor.state("broken@1").state is State.BACKOFF, "supervisord waits")
    assert made.supervisor.state("broken@1").output[-1] == "broken"
    flag.touch()
    made.supervisor.start("broken@1")  # at once, however long the wait has grown
    made.running(program)


def test_a_program_that_cannot_be_found_says_so(made: Cloud) -> None:
    made.configuration.put([made.program("missing@1", argv=("/nowhere/server",))])
    made.supervisor.apply()
    wait_until(lambda: made.supervisor.state("missing@1").output, "setpriv says why")
    assert "/nowhere/server: No such file or directory" in made.supervisor.state("missing@1").output[-1]


def test_a_refused_configuration_leaves_the_old_one_running(made: Cloud) -> None:
    program = made.program("a@1")
    made.configuration.put([program])
    made.supervisor.apply()
    before = made.running(program)
    broken = made.home.etc / "programs" / "zz.conf"
    broken.write_text("[program:x]\nnumproc")
    with pytest.raises(ProgramError, match="keeps the old one"):
        made.supervisor.apply()
    broken.unlink()
    made.supervisor.apply()
    assert before == made.running(program)


def test_unknown_programs_are_named(made: Cloud) -> None:
    for ask in (made.supervisor.state, made.supervisor.start, made.supervisor.stop):
        with pytest.raises(ProgramError, match=r"nobody: .*no such program"):
            ask("nobody")


def test_fifty_programs_come_and_go_together(made: Cloud) -> None:
    programs = [made.program(f"a@{n}", category=f"c{n % 5}") for n in range(50)]
    made.configuration.put(programs)
    assert len(made.supervisor.apply().added) == 50
    made.running(*programs)
    made.configuration.remove([program.name for program in programs])
    assert len(made.supervisor.apply().removed) == 50


def test_nobody_at_the_socket_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SupervisorDown, match=r"s\.sock"):
        Supervisor(tmp_path / "s.sock").apply()
    assert not Supervisor(tmp_path / "s.sock").answers()


def test_a_supervisord_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(SupervisorDown, match="timed out"):
            Supervisor(path, timeout_s=0.2).pid()
