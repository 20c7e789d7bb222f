"""The model under test: what its metadata says, and what to send it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cxrserve.conformance.tensors import DATATYPES, Element, Tensor, count_of
from cxrserve.conformance.verdicts import Failed, NotApplicable

# NVIDIA's example model `simple`: OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 − INPUT1.
_SIMPLE_WIDTH = 16
_FIRST = tuple(range(1, 1 + _SIMPLE_WIDTH))
_SECOND = (5,) * _SIMPLE_WIDTH


@dataclass(frozen=True, slots=True)
class Options:
    """What the suite may do, and with which model.

    Attributes:
        model: its name.
        inputs: those to send; empty: all that the model's configuration does not call optional.
        payload: what each BYTES element holds; None: the text "0".
        control: whether models may be unloaded and settings written.
        timeout_s: patience with each request.
        headers: name and value, sent with each request (metadata, over gRPC).
    """

    model: str = "simple"
    inputs: tuple[str, ...] = ()
    payload: bytes | None = None
    control: bool = False
    timeout_s: float = 30.0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as metadata describe it; −1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape is one of these."""
        return len(shape) == len(self.shape) and all(
            size in (-1, seen) for seen, size in zip(shape, self.shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its metadata describe it; `optional` names inputs that may be left out."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional: frozenset[str] = frozenset()

    @property
    def is_simple(self) -> bool:
        """Whether this looks like NVIDIA's `simple`, whose arithmetic is known."""
        inputs = {spec.name: (spec.datatype, spec.shape[-1:]) for spec in self.inputs}
        outputs = {spec.name for spec in self.outputs}
        one = ("INT32", (_SIMPLE_WIDTH,))
        return inputs == {"INPUT0": one, "INPUT1": one} and outputs == {"OUTPUT0", "OUTPUT1"}

    @property
    def batches(self) -> bool:
        """Whether the first dimension of every input is free."""
        return all(spec.shape[:1] == (-1,) for spec in self.inputs)

    def needs_simple(self) -> None:
        """Leave the check unless the arithmetic of the model is known."""
        if not self.is_simple:
            raise NotApplicable("needs the model `simple`, whose arithmetic is known")

    def sample(self, options: Options) -> tuple[Tensor, ...]:
        """A valid request: the arithmetic's numbers for `simple`, else zeros; free sizes are 1.

        Raises:
            Failed: an input that was chosen is not there.
            NotApplicable: the datatype of one cannot be sent.
        """
        if self.is_simple:
            return self.simple_inputs(_FIRST, _SECOND)
        return tuple(_zeros(spec, options.payload) for spec in self.chosen(options))

    def simple_inputs(self, *halves: tuple[int, ...]) -> tuple[Tensor, ...]:
        """INPUT0 and INPUT1 of `simple` with these numbers, a multiple of 16 of each."""
        by_name = {spec.name: spec for spec in self.inputs}
        tensors = []
        for name, numbers in zip(("INPUT0", "INPUT1"), halves, strict=True):
            shape: tuple[int, ...] = (_SIMPLE_WIDTH,)
            if len(by_name[name].shape) > 1:
                shape = (len(numbers) // _SIMPLE_WIDTH, _SIMPLE_WIDTH)
            tensors.append(Tensor(name, "INT32", shape, numbers))
        return tuple(tensors)

    def chosen(self, options: Options) -> tuple[TensorSpec, ...]:
        """The inputs to send.

        Raises:
            Failed: one that was chosen is not there: a suite that asks nothing must not pass.
        """
        if not options.inputs:
            required = tuple(spec for spec in self.inputs if spec.name not in self.optional)
            return required or self.inputs[:1]
        by_name = {spec.name: spec for spec in self.inputs}
        missing = [name for name in options.inputs if name not in by_name]
        if missing:
            raise Failed(f"an input {missing[0]!r}, as --input says; there are {list(by_name)}")
        return tuple(by_name[name] for name in options.inputs)

    def bytes_sample(self, options: Options) -> tuple[Tensor, ...]:
        """A valid request with a BYTES input: the usual one, or the model's other way in.

        Raises:
            NotApplicable: there is no BYTES input, or nothing is known to put into it.
        """
        if any(spec.datatype == "BYTES" for spec in self.chosen(options)):
            return self.sample(options)
        others = [spec for spec in self.inputs if spec.datatype == "BYTES"]
        if not others:
            raise NotApplicable("the model has no BYTES input")
        if options.payload is None:
            raise NotApplicable(f"say what {others[0].name!r} should hold: --bytes-file")
        return tuple(_zeros(spec, options.payload) for spec in others)


def batch_of_two(model: Model) -> tuple[Tensor, ...]:
    """Two different rows for `simple`.

    Raises:
        NotApplicable: it is another model, or takes no batches.
    """
    model.needs_simple()
    if not model.batches:
        raise NotApplicable("the model's first dimension is fixed: it takes no batches")
    return model.simple_inputs(tuple(range(32)), tuple(range(100, 132)))


def read_model(document: Any, optional: frozenset[str] = frozenset()) -> Model:
    """A model's metadata as JSON.

    Raises:
        ValueError: it is not as OIP's `$metadata_model_response`.
    """
    if not isinstance(document, dict):
        raise ValueError("metadata are not an object")
    return Model(
        name=_text(document, "name"),
        versions=tuple(str(version) for version in document.get("versions") or ()),
        inputs=_specs(document, "inputs"),
        outputs=_specs(document, "outputs"),
        optional=optional,
    )


def _specs(document: dict[str, Any], member: str) -> tuple[TensorSpec, ...]:
    listed = document.get(member)
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{member!r} is not an array of tensors")
    return tuple(_spec(one, member) for one in listed)


def _spec(one: Any, member: str) -> TensorSpec:
    if not isinstance(one, dict):
        raise ValueError(f"an element of {member!r} is not an object")
    shape = one.get("shape")
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        raise ValueError(f"shape of {one.get('name')!r} is {shape!r}, not an array of sizes")
    datatype = _text(one, "datatype")
    if datatype not in DATATYPES | {"BF16"}:
        raise ValueError(f"datatype {datatype!r} is not one of OIP's")
    return TensorSpec(_text(one, "name"), datatype, tuple(shape))


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= -1


def _text(document: dict[str, Any], member: str) -> str:
    value = document.get(member)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{member!r} is {value!r}, not a text")
    return value


def _zeros(spec: TensorSpec, payload: bytes | None) -> Tensor:
    if spec.datatype not in DATATYPES:
        raise NotApplicable(f"{spec.name!r} is {spec.datatype}, which the suite cannot write")
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    zero: Element = 0
    if spec.datatype == "BYTES":
        zero = b"0" if payload is None else payload
    elif spec.datatype == "BOOL":
        zero = False
    return Tensor(spec.name, spec.datatype, shape, (zero,) * count_of(shape))
