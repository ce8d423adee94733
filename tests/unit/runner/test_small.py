"""The runner's own JSON agrees with the standard library's."""

import json
import signal

import pytest

from central_mcp.runner import small

VALUES = [
    None,
    True,
    0,
    -1.5,
    "",
    'quote " backslash \\ newline \n nul \0 umlaut ü astral 😀 lone \udc80',
    [],
    {},
    {"a": [1, {"b": None}], "c": (1, 2)},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_it_writes_the_standard_library_reads(value: object) -> None:
    expected = json.loads(json.dumps(value))
    assert expected == json.loads(small.dumps(value))
    assert expected == small.loads(small.dumps(value))


@pytest.mark.parametrize("text", ["", " ", "{", "[1,", '{"a":1} x', "NaN", "{'a':1}", '"\n"'])
def test_text_that_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are CPython's
        small.loads(text)


def test_a_signal_has_its_name() -> None:
    assert small.signal_name(signal.SIGSEGV) == "SIGSEGV"
    assert small.signal_name(99) == "signal 99"
