"""A circuit opens for who fails, and closes for who has shown that he works."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxrserve.triton.circuit import FAILURES, Circuit, State


def closed() -> Circuit:
    circuit = Circuit()
    circuit.probed(works=True)
    return circuit


def test_nobody_is_asked_before_a_probe_has_succeeded() -> None:
    assert not Circuit().lets_through


def test_failures_in_a_row_open_it() -> None:
    circuit = closed()
    for _ in range(FAILURES - 1):
        circuit.failed()
    assert circuit.lets_through
    circuit.failed()
    assert not circuit.lets_through
    assert circuit.opened == 1


def test_a_success_between_failures_keeps_it_closed() -> None:
    circuit = closed()
    for _ in range(10):
        circuit.failed()
        circuit.succeeded()
    assert circuit.lets_through


def test_one_failure_is_enough_where_nobody_is_there() -> None:
    circuit = closed()
    circuit.failed(surely=True)
    assert circuit.state is State.OPEN


def test_a_probe_that_says_ready_forgives_no_failure_of_a_closed_one() -> None:
    circuit = closed()
    circuit.failed()
    circuit.probed(works=True)
    circuit.failed()
    assert not circuit.lets_through


@given(
    st.lists(
        st.sampled_from(["succeeded", "failed", "gone", "probing", "works", "does not"]),
        max_size=50,
    )
)
def test_only_a_probe_that_works_lets_an_open_one_through_again(events: list[str]) -> None:
    circuit = Circuit()
    for event in events:
        before = circuit.lets_through
        match event:
            case "succeeded":
                circuit.succeeded()
            case "failed":
                circuit.failed()
            case "gone":
                circuit.failed(surely=True)
            case "probing":
                circuit.probing()
            case "works":
                circuit.probed(works=True)
            case "does not":
                circuit.probed(works=False)
        if not before:
            assert circuit.lets_through == (event == "works")
        if event in {"gone", "does not"}:
            assert not circuit.lets_through
