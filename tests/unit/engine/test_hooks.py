"""The hooks' rules and words: what git must not store, pkt-lines, a rollout told to a pusher."""

import io

import pytest

from central_mcp.engine import hook_pre
from central_mcp.engine.hook_receive import Wire, one_line
from central_mcp.engine.told import Teller


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a/b.py", ""),
        ("ünïcode/x", ""),
        ("a/../b", "no path inside"),
        ("/etc/passwd", "no path inside"),
        ("a//b", "no path inside"),
        (".git/hooks/x", "git's own"),
        ("a/.GIT /x", "git's own"),
        ("a/GIT~1/x", "git's own"),
        ("a\nb", "control character"),
        ("a\x1b[31m", "control character"),
        ("x" * 2000, "longer than"),
    ],
)
def test_paths_that_must_not_be_stored(path: str, words: str) -> None:
    found = hook_pre.path_problem(path)
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a/link", "b", False),
        ("a/link", "../b", False),
        ("a/link", "../../b", True),
        ("link", "/etc/passwd", True),
        ("a/b/link", "../../../x", True),
        ("link", "..", True),
        ("a/link", "x/../../../y", True),
    ],
)
def test_links_that_leave_the_tree(path: str, target: str, out: bool) -> None:
    assert hook_pre.leaves(path, target) is out


def test_refs_and_kinds_that_must_not_be_stored() -> None:
    main = "refs/heads/main"
    assert hook_pre.ref_problem(main, "1" * 40, main) == ""
    assert "cannot be deleted" in hook_pre.ref_problem(main, hook_pre.NONE, main)
    assert hook_pre.ref_problem("refs/heads/x", hook_pre.NONE, main) == ""
    assert "neither" in hook_pre.ref_problem("refs/releases/v1", "1" * 40, main)
    assert "submodule" in hook_pre.entry_problem(hook_pre.Entry(hook_pre.SUBMODULE, "x", 0, "lib"), 10)
    assert "max_push" in hook_pre.entry_problem(hook_pre.Entry("100644", "x", 11, "big"), 10)


def test_packets_are_read_up_to_the_flush_and_written_with_one() -> None:
    out = io.BytesIO()
    wire = Wire(io.BytesIO(b"000eversion=1\n00000009after"), out)
    assert list(wire.packets()) == ["version=1"]
    packets = wire.packets()
    assert next(packets) == "after"
    with pytest.raises(EOFError):
        next(packets)
    wire.send("ok refs/heads/main")
    assert out.getvalue() == b"0016ok refs/heads/main0000"


def test_a_refusal_fits_on_gits_one_line() -> None:
    assert one_line("it\nfailed\x1b[31m  badly") == "it failed [31m badly"
    assert len(one_line("x" * 5000)) == 200


def test_a_failure_is_told_with_its_log_and_the_next_step() -> None:
    out = io.StringIO()
    teller = Teller(out)
    teller.tell({"type": "progress", "done": 1, "total": 2})
    teller.tell({"type": "server", "server": "git", "stage": "build", "seconds": 1.25, "detail": ""})
    teller.tell(
        {"type": "failed", "server": "git", "stage": "gate", "cause": "exited", "log": ["a\x1b[2J"], "hint": "mend it"}
    )
    teller.tell({"type": "of a newer engine"})
    assert out.getvalue().splitlines() == [
        "[############............]  git built  1.2 s",
        "refused: git: gate: exited",
        "    | a [2J",
        "next: mend it",
    ]


def test_a_pusher_that_has_gone_is_no_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    teller = Teller(Gone())
    teller.line("one")
    teller.line("two")
