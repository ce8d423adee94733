"""Frames come out as they went in, however they are cut; what is no frame is told apart from what is not whole yet."""

import pytest

from central_mcp.protocol.frames import MAX_FRAME, MAX_HEAD, Decoder, FrameError, Head, Kind, encode


def test_frames_survive_any_cut() -> None:
    sent = [(Head(Kind.CALL, 7, "tools/call", "git", caps=b"{}"), b'{"a":1}'), (Head(Kind.CANCEL, 7), b"")]
    wire = b"".join(encode(head, body) for head, body in sent)
    for size in range(1, len(wire) + 1):
        decoder = Decoder()
        found = [frame for at in range(0, len(wire), size) for frame in decoder.feed(wire[at : at + size])]
        assert found == sent


def test_what_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(FrameError, match="frame of"):
        encode(Head(Kind.RESULT, 1), b"x" * MAX_FRAME)
    with pytest.raises(FrameError, match="frame head of"):
        encode(Head(Kind.CALL, 1, client=b"x" * (MAX_HEAD + 1)))


@pytest.mark.parametrize(
    "wire",
    [b"\xff" * 8, b"\0\0\0\0\0\0", b"\0\0\0\x03\0\x09x", b"\0\0\0\x04\0\x02\xc1\xc1"],
    ids=["too long", "too short", "a head beyond its frame", "a head that is none"],
)
def test_what_is_no_frame_ends_the_link(wire: bytes) -> None:
    with pytest.raises(FrameError):
        list(Decoder().feed(wire))
