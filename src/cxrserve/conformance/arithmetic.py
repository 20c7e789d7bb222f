"""What the answers should hold, whichever protocol brought them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxrserve.conformance.tensors import Tensor
from cxrserve.conformance.verdicts import Differs, Failed, NotApplicable

Waiter = Callable[[float], None]

_SETTLE_S = 0.1
_SETTLES = 20


def simple_outputs(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """What `simple` answers: sums and differences."""
    first, second = tensors
    pairs = [(int(a), int(b)) for a, b in zip(first.elements, second.elements, strict=True)]
    sums, differences = tuple(a + b for a, b in pairs), tuple(a - b for a, b in pairs)
    return {
        "OUTPUT0": Tensor("OUTPUT0", "INT32", first.shape, sums),
        "OUTPUT1": Tensor("OUTPUT1", "INT32", first.shape, differences),
    }


def classifiable(outputs: dict[str, Tensor]) -> tuple[str, Tensor]:
    """An output that is one row of numbers.

    Raises:
        NotApplicable: there is none.
    """
    for name, tensor in outputs.items():
        is_row = tensor.shape[-1:] == (len(tensor.elements),)
        if is_row and tensor.datatype not in ("BYTES", "BOOL"):
            return name, tensor
    raise NotApplicable("no output is a row of numbers")


def class_faults(classes: Tensor, values: Tensor, count: int) -> str:
    """What is wrong with classes `value:index[:label]` of a row of values; empty if nothing.

    Triton's extension_classification: BYTES, the `count` highest values, highest first.
    """
    if classes.datatype != "BYTES" or classes.shape[-1:] != (count,):
        return f"BYTES, {count} of them, not {classes.datatype} {list(classes.shape)}"
    highest = sorted((float(value) for value in values.elements), reverse=True)[:count]
    for text, expected in zip(classes.elements, highest, strict=True):
        assert isinstance(text, bytes)
        value, _, rest = text.decode(errors="replace").partition(":")
        index = rest.partition(":")[0]
        if not index.isdigit() or int(index) >= len(values.elements):
            return f"'value:index[:label]', not {text!r}"
        named = float(values.elements[int(index)])
        if not math.isclose(named, expected, rel_tol=1e-3, abs_tol=1e-5):
            return f"the value {expected:g} here; index {index} has {named:g}"
        if not _is_number_near(value, expected):
            return f"the value {expected:g}, not {value!r}"
    return ""


def _is_number_near(text: str, expected: float) -> bool:
    try:
        return math.isclose(float(text), expected, rel_tol=1e-3, abs_tol=1e-4)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one model: requests that succeeded, and inferences (rows of batches) in them."""

    success: int
    inferences: int


def expect_risen(
    read: Callable[[], Counts], before: Counts, *, requests: int, rows: int, wait: Waiter
) -> None:
    """Demand that the counts rose by what was sent; they may take 2 s to do so.

    Raises:
        Failed: they rose by less.
        Differs: they rose by more: others may be using the server.
    """
    sent = f"{requests} requests of {rows} rows together"
    now = before
    for _ in range(_SETTLES):
        now = read()
        if now == Counts(before.success + requests, before.inferences + rows):
            return
        wait(_SETTLE_S)
    came = f"success +{now.success - before.success}, "
    came += f"inference_count +{now.inferences - before.inferences}"
    expected = f"success +{requests}, inference_count +{rows}"
    if now.success < before.success + requests or now.inferences < before.inferences + rows:
        raise Failed(expected, sent=sent, came=came)
    raise Differs(f"{expected} (if nobody else uses this server)", sent=sent, came=came)
