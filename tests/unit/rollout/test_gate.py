"""The gate's rules for tool lists and health calls."""

from typing import Any

import pytest

from central_mcp.rollout import gate

SCHEMA = {"type": "object"}


def tool(**more: Any) -> dict[str, Any]:
    return {"name": "search", "inputSchema": SCHEMA, **more}


def test_a_sound_list_passes() -> None:
    assert gate.check([tool(), tool(name="a.b-C_9", description="x", outputSchema={}), tool(name="z" * 128)]) == []
    assert gate.check([]) == []


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ("none", "a text where a list"),
        (None, "nothing where a list"),
        ([7], "tool number 1: is a number"),
        ([tool(name="")], "its name must be"),
        ([tool(name="ec ho")], "tool 'ec ho': its name must be"),
        ([tool(name="x" * 129)], "its name must be"),
        ([tool(name="é")], "its name must be"),
        ([tool(), tool()], "appears twice"),
        ([{"name": "a"}], "inputSchema is nothing"),
        ([tool(inputSchema={})], '"type": "object"'),
        ([tool(inputSchema={"type": "object", "properties": []})], "properties"),
        ([tool(outputSchema=[])], "outputSchema"),
        ([tool(description=5)], "description"),
        ([tool(description="x" * (300 << 10))], "300 KiB"),
        ([tool(name=f"t{n}") for n in range(2001)], "2001 tools"),
    ],
)
def test_a_list_that_must_not_serve_says_which_tool_and_why(tools: Any, words: str) -> None:
    problems = gate.check(tools)
    assert problems
    assert words in gate.shown(problems)


def test_many_problems_are_shown_shortened() -> None:
    assert gate.shown(gate.check([7] * 9)).endswith("; and 4 more")


def test_the_health_call_counts_a_tools_own_error_and_a_question_as_failure() -> None:
    assert gate.health({"content": []}) == ""
    assert "no token" in gate.health({"isError": True, "content": [{"type": "text", "text": "no\ntoken"}]})
    assert "asked for input" in gate.health({"resultType": "input_required"})
    assert "a list" in gate.health([])


def test_the_difference_to_the_serving_tools_is_told_by_name() -> None:
    old = [tool(name="a"), tool(name="b"), tool(name="c")]
    new = [tool(name="b"), tool(name="c", description="now with words"), tool(name="d")]
    assert str(gate.diff(old, new)) == "+d -a ~c"
    assert str(gate.diff(old, old)) == ""
