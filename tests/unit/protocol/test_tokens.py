"""Sealed tokens: for one purpose, one principal, one time; everything else reads as unknown."""

import os

import pytest

from central_mcp.protocol.tokens import Sealer

KEY = os.urandom(32)


def test_a_token_opens_for_its_principal_until_it_expires() -> None:
    sealer = Sealer(KEY, "session")
    token = sealer.seal("p/1", b"data", 100.0)
    assert sealer.open("p/1", token, 99.9) == b"data"
    assert sealer.open("p/1", token, 100.0) is None


def test_another_process_with_the_same_machine_key_opens_it() -> None:
    assert Sealer(KEY, "session").open("p", Sealer(KEY, "session").seal("p", b"d", 9.0), 1.0) == b"d"


@pytest.mark.parametrize(
    "thief", [Sealer(KEY, "cursor"), Sealer(os.urandom(32), "session")], ids=["other purpose", "other machine"]
)
def test_a_token_of_another_purpose_or_machine_is_unknown(thief: Sealer) -> None:
    assert thief.open("p", Sealer(KEY, "session").seal("p", b"d", 9.0), 1.0) is None


def test_a_stolen_token_is_unknown() -> None:
    sealer = Sealer(KEY, "session")
    assert sealer.open("thief", sealer.seal("owner", b"d", 9.0), 1.0) is None


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 16, "A" * 100, "a b", "=" * 8, "\0"])
def test_what_is_no_token_is_unknown(token: str) -> None:
    assert Sealer(KEY, "session").open("p", token, 1.0) is None


def test_a_changed_token_is_unknown() -> None:
    sealer = Sealer(KEY, "session")
    token = sealer.seal("p", b"data", 9.0)
    for at in range(0, len(token), 7):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert sealer.open("p", changed, 1.0) is None


def test_tokens_are_visible_ascii_and_never_the_same() -> None:
    sealer = Sealer(KEY, "session")
    first, second = sealer.seal("p", b"d", 9.0), sealer.seal("p", b"d", 9.0)
    assert first != second
    assert first.isascii()
    assert first.isprintable()


def test_a_short_machine_key_is_refused() -> None:
    with pytest.raises(ValueError, match="machine key"):
        Sealer(b"short", "session")
