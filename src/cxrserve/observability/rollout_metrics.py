"""Which versions answer, and how those compare that are only asked, as Prometheus metrics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from cxrserve.models.repository import ModelRepository
from cxrserve.shadow import DIFFERENCES, Comparison


def rollout_families(
    repository: ModelRepository, comparisons: Mapping[tuple[str, str], Comparison]
) -> Iterator[Metric]:
    """The metrics of versions and shadows.

    Args:
        comparisons: by `name@version` of who answered and of the candidate.
    """
    share = GaugeMetricFamily(
        "cxrserve_version_share",
        "Share of questions without a version that this version answers",
        labels=["model"],
    )
    for model in repository:
        share.add_metric([model.full_name], repository.share_of(model))
    yield share
    compared = CounterMetricFamily(
        "cxrserve_shadow",
        "Answers of a shadow, compared with those that were given",
        labels=["model", "candidate", "outcome"],
    )
    changed = CounterMetricFamily(
        "cxrserve_shadow_changes",
        "Findings that a shadow has more (gained) or less (lost)",
        labels=["model", "candidate", "label", "change"],
    )
    difference = HistogramMetricFamily(
        "cxrserve_shadow_probability_difference",
        "Largest difference of a probability to the answer that was given",
        labels=["model", "candidate"],
    )
    for names, seen in comparisons.items():
        for outcome, count in seen.outcomes.items():
            compared.add_metric([*names, outcome], count)
        for change, count in seen.changes.items():
            changed.add_metric([*names, *change], count)
        sums = itertools.accumulate(seen.differences)
        buckets = [(str(most), float(n)) for most, n in zip(DIFFERENCES, sums, strict=True)]
        buckets.append(("+Inf", float(sum(seen.differences))))
        difference.add_metric([*names], buckets, seen.sum_of_differences)
    yield from (compared, changed, difference)
