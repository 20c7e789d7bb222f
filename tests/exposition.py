"""Reads what `/metrics` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One line."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> list[Sample]:
    """Every line of Prometheus' text format."""
    return [
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def total(text: str, name: str, **labels: str) -> float:
    """The sum of all lines of this name with these labels; `class_` is the label `class`."""
    wanted = {key.rstrip("_"): value for key, value in labels.items()}
    return sum(
        one.value
        for one in samples(text)
        if one.name == name and wanted.items() <= one.labels.items()
    )
