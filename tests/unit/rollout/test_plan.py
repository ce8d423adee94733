"""The plan: what changes, whose a name is, which port it gets."""

from central_mcp.rollout.plan import Plan, Registered, Serving, Wanted, make

RANGES = {"api": range(3200, 3203), "iot": range(3550, 3551)}


def plan(wanted: list[Wanted], serving: list[Serving] | None = None, known: list[Registered] | None = None) -> Plan:
    registered = {r.name: r for r in known or []}
    return make("A", wanted, serving or [], registered, number=7, serving_release=6, ranges=RANGES)


def test_servers_are_new_changed_unchanged_or_removed() -> None:
    made = plan(
        [Wanted("a", "api", "1"), Wanted("b", "api", "2", {"source": "y"}), Wanted("c", "api", "3")],
        [Serving("b", 4, "1", {"source": "x"}), Serving("c", 5, "3"), Serving("d", 2, "9")],
        [Registered(name, "A", "api", port) for name, port in (("b", 3200), ("c", 3201))]
        + [Registered("d", "A", "iot", 3550)],
    )
    assert [(c.server, c.change, c.release) for c in made.changes] == [
        ("a", "new", 7),
        ("b", "changed", 7),
        ("c", "unchanged", 5),
        ("d", "removed", 2),
    ]
    assert made.changes[1].why == "source changed"
    assert [c.server for c in made.staged] == ["a", "b"]
    assert made.replaces
    assert made.release == 7


def test_nothing_changed_keeps_the_serving_release() -> None:
    made = plan([Wanted("a", "api", "1")], [Serving("a", 3, "1")], [Registered("a", "A", "api", 3201)])
    assert made.unchanged
    assert made.release == 6
    assert made.staged == ()


def test_another_projects_name_is_a_problem_that_names_its_owner() -> None:
    made = plan([Wanted("a", "api", "1")], known=[Registered("a", "B", "api", 3200)])
    assert "belongs to project B" in str(made.problems[0])
    assert made.changes == ()


def test_a_name_nobody_owns_any_more_is_taken_with_its_old_port() -> None:
    made = plan([Wanted("a", "api", "1")], known=[Registered("a", "", "api", 3202)])
    assert [(c.change, c.port) for c in made.changes] == [("new", 3202)]


def test_new_names_get_the_lowest_free_port_and_an_exhausted_range_is_a_problem() -> None:
    known = [Registered("x", "B", "api", 3200)]
    made = plan([Wanted(name, "api", name) for name in ("a", "b", "c")], known=known)
    assert [c.port for c in made.changes] == [3201, 3202]
    assert "no free port left (3200-3202)" in str(made.problems[0])


def test_a_server_that_moves_to_another_category_gets_a_port_there() -> None:
    made = plan([Wanted("a", "iot", "2")], [Serving("a", 1, "1")], [Registered("a", "A", "api", 3200)])
    assert made.changes[0].port == 3550


def test_a_server_whose_build_is_gone_is_built_anew() -> None:
    made = plan([Wanted("a", "api", "1")], [Serving("a", 3, "1", whole=False)], [Registered("a", "A", "api", 3201)])
    (change,) = made.changes
    assert (change.change, change.why) == ("changed", "its build is gone from the disk")
    assert not made.unchanged
