"""Who is entitled to run next."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cxrserve.batching.line import AGED, Line, Priority, Waiting


def waiting(number: int, **given: object) -> Waiting:
    known: dict[str, object] = {"arrived": 0.0, "deadline": 10.0, "client": "a"}
    return Waiting(number=number, **{**known, **given})  # type: ignore[arg-type]


def order(line: Line, now: float = 0.0) -> list[int]:
    return [request.number for request in line.in_order(now)]


def test_stat_goes_before_urgent_before_routine() -> None:
    line = Line()
    for number, priority in enumerate((Priority.ROUTINE, Priority.URGENT, Priority.STAT)):
        line.add(waiting(number, priority=priority))
    assert order(line) == [2, 1, 0]


def test_of_one_client_the_earliest_deadline_goes_first() -> None:
    line = Line()
    line.add(waiting(0, deadline=9.0))
    line.add(waiting(1, deadline=3.0))
    assert order(line) == [1, 0]


def test_a_flooding_client_delays_another_by_one_batch_only() -> None:
    line = Line()
    for number in range(1000):
        line.add(waiting(number, client="flood"))
    line.take(tuple(order(line)[:16]))
    line.add(waiting(1000, client="single", deadline=11.0))
    # Its turn is at most one image of the flood away, though all of the flood is due sooner.
    assert 1000 in order(line)[:2]
    assert line.ahead_of(waiting(1001, client="other", deadline=12.0), 0.0) <= 2


def test_who_has_had_a_batch_lets_others_have_as_much() -> None:
    line = Line()
    for number in range(40):
        line.add(waiting(number, client="greedy"))
    line.add(waiting(40, client="modest", deadline=11.0))
    line.take(tuple(range(16)))
    for number in range(41, 50):
        line.add(waiting(number, client="modest", deadline=11.0))
    assert set(order(line)[:10]) == set(range(40, 50))


def test_an_aged_routine_request_goes_before_stat_that_is_due_later() -> None:
    line = Line()
    line.add(waiting(0, priority=Priority.ROUTINE, deadline=10.0))
    line.add(waiting(1, priority=Priority.STAT, arrived=7.0, deadline=17.0))
    just_before, aged = 10.0 * AGED[1] - 0.01, 10.0 * AGED[1] + 0.01
    assert order(line, just_before) == [1, 0]
    assert order(line, aged) == [0, 1]


def test_it_is_urgent_before_it_is_stat() -> None:
    line = Line()
    line.add(waiting(0, priority=Priority.ROUTINE, deadline=10.0))
    line.add(waiting(1, priority=Priority.URGENT, arrived=5.0, deadline=15.0))
    line.add(waiting(2, priority=Priority.STAT, arrived=5.0, deadline=15.0))
    assert order(line, 10.0 * AGED[0] + 0.01) == [2, 0, 1]


requests: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        priority=st.sampled_from(Priority),
        client=st.sampled_from("abc"),
        arrived=st.floats(0, 5),
        time=st.floats(0.1, 10),
        images=st.integers(1, 4),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(requests, st.data(), st.floats(0, 20))
def test_everyone_stands_in_the_line_exactly_once(
    given_requests: list[dict[str, Any]], data: st.DataObject, now: float
) -> None:
    line = Line()
    there = {}
    for number, one in enumerate(given_requests):
        deadline = one["arrived"] + one.pop("time")
        there[number] = waiting(number, deadline=deadline, **one)
        line.add(there[number])
    gone = data.draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
    before = order(line, now)
    for taken in line.take(tuple(sorted(gone))):
        line.put_back(taken)
    assert order(line, now) == before, "who is put back stands where he stood"
    line.take(tuple(sorted(gone)))
    left = {number: one for number, one in there.items() if number not in gone}

    assert sorted(order(line, now)) == sorted(left)
    assert len(line) == len(left)
    assert line.images == sum(one.images for one in left.values())
    deadlines = sorted(one.deadline for one in left.values())
    assert line.next_deadline() == (deadlines[0] if deadlines else None)
    assert {one.number for one in line.overdue(now)} == {
        number for number, one in left.items() if one.deadline < now
    }
    # Asking changes nothing.
    assert {one.number for one in line.overdue(now)} == {
        number for number, one in left.items() if one.deadline < now
    }


def test_nothing_is_kept_of_those_who_are_gone() -> None:
    line = Line()
    for number in range(1000):
        line.add(Waiting(number=number, arrived=float(number), deadline=number + 5.0))
        if number >= 3:
            line.remove(number - 3)
    assert len(line) == 3
    assert len(line._deadlines) <= 4
