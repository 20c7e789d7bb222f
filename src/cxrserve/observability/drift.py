"""What the models find, as Prometheus metrics, and how far that is from what they were built on.

Counted is each answer about a patient's film: neither phantoms nor what the gate refuses. Nothing
is kept of an answer but in which bin each probability lay. See `docs/drift.md`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric

from cxrserve.answer import ImageSeen, ModelUsed, Result
from cxrserve.models.manifest import ReferenceLabel
from cxrserve.models.repository import LoadedModel

WINDOW, FEWEST = 1_000, 200
"""Answers that the index is of, and how many it needs."""

TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
_PHANTOM = "phantom"


class FindingStatistics:
    """Counts what models find. Belongs to one event loop: nothing here is locked.

    Args:
        loaded: gives the models that are loaded now.
    """

    def __init__(self, loaded: Callable[[], Iterable[LoadedModel]]) -> None:
        self._loaded = loaded
        self._models: dict[str, _ModelFindings] = {}

    def observed(self, results: Sequence[Result], image: ImageSeen) -> None:
        """Count an answer; a few microseconds a label."""
        if not is_counted(image):
            return
        for result in results:
            findings = self._of(result.model) if result.findings else None
            if findings is None:
                continue
            for found in result.findings:
                if found.probability is not None:
                    findings.labels[found.label].add(found.probability, found.positive)

    def families(self) -> Iterator[Metric]:
        """The metrics of the models that are loaded and have answered."""
        found = CounterMetricFamily(
            "cxrserve_findings",
            "Findings answered, by whether the probability reached the threshold asked",
            labels=["model", "label", "positive"],
        )
        probability = HistogramMetricFamily(
            "cxrserve_finding_probability",
            "Calibrated probabilities answered",
            labels=["model", "label"],
        )
        stability = GaugeMetricFamily(
            "cxrserve_finding_psi",
            f"Population stability index of the last {WINDOW} answers against the reference",
            labels=["model", "label"],
        )
        self._forget_unloaded()
        for model in self._models.values():
            for label, seen in model.labels.items():
                if any(seen.positives):
                    for positive, count in zip(("false", "true"), seen.positives, strict=True):
                        found.add_metric([model.name, label, positive], count)
                probability.add_metric([model.name, label], seen.buckets(), seen.sum)
                index = seen.stability()
                if index is not None:
                    stability.add_metric([model.name, label], index)
        yield from (found, probability, stability)

    def _of(self, used: ModelUsed) -> _ModelFindings | None:
        """The counts of a model; None for one that was unloaded while it answered."""
        findings = self._models.get(used.digest)
        if findings is not None:
            return findings
        for model in self._loaded():
            if model.package.digest == used.digest:
                self._forget_unloaded()
                findings = self._models[used.digest] = _ModelFindings(model)
                return findings
        return None

    def _forget_unloaded(self) -> None:
        loaded = {model.package.digest for model in self._loaded()}
        self._models = {digest: model for digest, model in self._models.items() if digest in loaded}


def is_counted(image: ImageSeen) -> bool:
    """Whether an answer about this image says something of the patients who come.

    Phantoms are drills, and what the gate refuses is answered only by force.
    """
    return not image.reasons and all(remark.code != _PHANTOM for remark in image.warnings)


def population_stability(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Population stability index: Σ (q - p) · ln(q / p) over bins (Siddiqi 2006).

    Args:
        counts: answers in each bin. Half an answer is added to each, so that an empty one
            does not make the index infinite.
        shares: p, of the reference in each bin; none is 0.
    """
    total = sum(counts) + len(counts) / 2
    answered = ((count + 0.5) / total for count in counts)
    return sum((q - p) * math.log(q / p) for q, p in zip(answered, shares, strict=True))


def expected_without_drift(bins: int, films: int, answers: int) -> float:
    """What the index is on average where nothing has drifted: (B - 1) · (1/N + 1/M).

    From two samples of one distribution comes (1/N + 1/M) · χ² with B - 1 degrees of freedom,
    nearly (Yurdakul 2018).
    """
    return (bins - 1) * (1 / films + 1 / answers)


class _ModelFindings:
    """What one model found. `labels` are those that something trained."""

    def __init__(self, model: LoadedModel) -> None:
        self.name = model.full_name
        reference = model.manifest.reference
        known = reference.labels if reference is not None else {}
        self.labels = {
            label.name: _LabelFindings(known.get(label.name))
            for label in model.manifest.labels
            if label.trained
        }


class _LabelFindings:
    """What was found of one label: in all, and in the window."""

    __slots__ = ("_window", "positives", "sum", "tenths")

    def __init__(self, reference: ReferenceLabel | None) -> None:
        self.positives = [0, 0]
        self.tenths = [0] * len(TENTHS)
        self.sum = 0.0
        # A reference of too few films has one bin, which says nothing.
        comparable = reference is not None and reference.edges
        self._window = _Window(reference) if reference and comparable else None

    def add(self, probability: float, positive: bool | None) -> None:
        if positive is not None:
            self.positives[positive] += 1
        self.tenths[bisect_left(TENTHS, probability)] += 1
        self.sum += probability
        if self._window is not None:
            self._window.add(probability)

    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound with the answers up to it, as Prometheus wants them."""
        up_to, buckets = 0, []
        for bound, count in zip(TENTHS, self.tenths, strict=True):
            up_to += count
            buckets.append((str(bound), float(up_to)))
        return [*buckets, ("+Inf", float(up_to))]

    def stability(self) -> float | None:
        return self._window.stability() if self._window is not None else None


class _Window:
    """In which bin of the reference each of the last `WINDOW` probabilities lay: a byte each."""

    __slots__ = ("_bins", "_counts", "_next", "_reference")

    def __init__(self, reference: ReferenceLabel) -> None:
        self._reference = reference
        self._bins = bytearray()
        self._counts = [0] * len(reference.shares)
        self._next = 0

    def add(self, probability: float) -> None:
        place = bisect_right(self._reference.edges, probability)
        self._counts[place] += 1
        if len(self._bins) < WINDOW:
            self._bins.append(place)
            return
        self._counts[self._bins[self._next]] -= 1
        self._bins[self._next] = place
        self._next = (self._next + 1) % WINDOW

    def stability(self) -> float | None:
        """The index; None while there are fewer than `FEWEST` answers."""
        if len(self._bins) < FEWEST:
            return None
        return population_stability(self._counts, self._reference.shares)
