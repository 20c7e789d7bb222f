"""A histogram that a server exposes to Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations in seconds: how many, their sum, and how many up to each bound."""

    count: float = 0.0
    sum_s: float = 0.0
    up_to: dict[float, float] = field(default_factory=dict)

    @classmethod
    def read(cls, exposition: bytes, name: str, **labels: str) -> Histogram:
        """The sum of all histograms of this name that have these labels; empty if there is none."""
        totals = {"count": 0.0, "sum": 0.0}
        up_to: dict[float, float] = {}
        for family in text_string_to_metric_families(exposition.decode()):
            for sample in family.samples if family.name == name else ():
                if any(sample.labels.get(label) != value for label, value in labels.items()):
                    continue
                kind = sample.name.removeprefix(f"{name}_")
                if kind == "bucket":
                    bound = float(sample.labels["le"])
                    up_to[bound] = up_to.get(bound, 0.0) + sample.value
                elif kind in totals:
                    totals[kind] += sample.value
        return cls(totals["count"], totals["sum"], up_to)

    def __sub__(self, before: Histogram) -> Histogram:
        """What was observed since."""
        return Histogram(
            self.count - before.count,
            self.sum_s - before.sum_s,
            {bound: n - before.up_to.get(bound, 0.0) for bound, n in self.up_to.items()},
        )

    def mean_ms(self) -> float | None:
        """None where nothing was observed."""
        return 1e3 * self.sum_s / self.count if self.count else None

    def share_within(self, bound_s: float) -> float | None:
        """Share up to one of its bounds; None where nothing was observed."""
        return self.up_to.get(bound_s, 0.0) / self.count if self.count else None
