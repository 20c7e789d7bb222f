"""What the models find is counted, and a shift of it is seen; phantoms and noise raise no alarm."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from scipy import stats  # type: ignore[import-untyped]

from cxrserve.answer import FindingSeen, ImageSeen, ModelUsed, Remark, Result
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.models.package import read_package
from cxrserve.models.repository import LoadedModel, loaded
from cxrserve.observability.drift import (
    FEWEST,
    WINDOW,
    FindingStatistics,
    expected_without_drift,
    population_stability,
)
from cxrserve.training.reference import edges_of
from tests.exposition import samples, total
from tests.tiny_package import write_tiny_package, write_tiny_segmentation

MODELS = Path(__file__).resolve().parents[2] / "models"
ALARM = 0.25
PATIENT = ImageSeen(sha256="5e" * 32, format="image/png", width=1024, height=1024)
TINY = {"model": "tiny@1.0.0", "label": "pneumonia"}


def reference(**changes: Any) -> dict[str, Any]:
    """A reference of 400 films with a quarter of them in each quarter, and `changes` in it."""
    quarters = {"edges": [0.25, 0.5, 0.75], "shares": [0.25] * 4, "tenths": [0.1] * 10}
    said = {**quarters, "positive_rate": 0.5, "mean": 0.5, **changes}
    return {"films": "val", "images": 400, "labels": {"pneumonia": said}}


def noise(*, bins: int = 4, films: int = 400, answers: int = WINDOW) -> float:
    """What the index stays below 99.9 times in 100 where nothing has drifted."""
    return float(stats.chi2.ppf(0.999, bins - 1)) * (1 / films + 1 / answers)


def tiny(folder: Path, **changes: Any) -> LoadedModel:
    """The tiny package with a reference of four quarters, loaded."""
    write_tiny_package(folder, **{"reference": reference(), **changes})
    return loaded(read_package(folder), load_onnx_cpu)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[LoadedModel]:
    model = tiny(tmp_path / "tiny")
    yield model
    model.engine.close()


def answer(model: LoadedModel, **probabilities: float | None) -> list[Result]:
    """What a model says, positive from 0.5 on; the label `normal` has no threshold."""
    manifest = model.manifest
    findings = [
        FindingSeen(
            label=label,
            probability=probability,
            positive=None if probability is None or label == "normal" else probability >= 0.5,
        )
        for label, probability in probabilities.items()
    ]
    used = ModelUsed(
        name=manifest.name,
        version=manifest.version,
        digest=model.package.digest,
        engine="onnxruntime-cpu-fp32",
        preprocessing=model.preprocessing,
    )
    return [Result(model=used, operating_point="balanced", findings=tuple(findings))]


def tell(statistics: FindingStatistics, model: LoadedModel, probabilities: Sequence[float]) -> None:
    for probability in probabilities:
        statistics.observed(answer(model, pneumonia=float(probability)), PATIENT)


def scraped(statistics: FindingStatistics) -> str:
    class Families(Collector):
        def collect(self) -> Iterator[Metric]:
            return statistics.families()

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry).decode()


def index(statistics: FindingStatistics, labels: Mapping[str, str] = TINY) -> float | None:
    found = [
        one.value
        for one in samples(scraped(statistics))
        if one.name == "cxrserve_finding_psi" and one.labels == labels
    ]
    return found[0] if found else None


# The index


def test_the_index_is_what_a_hand_works_out() -> None:
    # Half an answer more in each bin: 3/4 and 1/4 answered of 1/4 and 3/4 expected.
    assert population_stability([4, 1], [0.25, 0.75]) == pytest.approx(math.log(3))
    # 0.6, 0.2, 0.2 of 0.2, 0.2, 0.6: twice 0.4 ln 3, and nothing from the bin between.
    assert population_stability([4, 1, 1], [0.2, 0.2, 0.6]) == pytest.approx(0.8 * math.log(3))
    # An empty bin counts, but is not infinite: 1/4 and 3/4 of a half each.
    assert population_stability([0, 1], [0.5, 0.5]) == pytest.approx(0.25 * math.log(3))


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 300)), min_size=2, max_size=12).filter(
        lambda bins: sum(count for count, _ in bins) > 0
    )
)
def test_the_index_is_the_entropies_both_ways(bins: list[tuple[int, int]]) -> None:
    counts, films = (np.array(column, float) for column in zip(*bins, strict=True))
    answered, shares = (counts + 0.5) / (counts + 0.5).sum(), films / films.sum()
    both_ways = stats.entropy(answered, shares) + stats.entropy(shares, answered)
    found = population_stability(counts.astype(int).tolist(), shares.tolist())
    assert found == pytest.approx(both_ways, rel=1e-9, abs=1e-12)
    assert found >= 0


@pytest.mark.parametrize("films", [163, 662])
@pytest.mark.parametrize("answers", [FEWEST, WINDOW])
def test_without_drift_the_index_is_its_expected_noise(films: int, answers: int) -> None:
    draws = np.random.default_rng(films + answers)
    found, bins = [], 0
    for _ in range(300):
        reference = draws.beta(0.3, 1, films).round(6)
        edges = edges_of(reference)
        seen = _counts(draws.beta(0.3, 1, answers).round(6), edges)
        shares = _counts(reference, edges) / films
        found.append(population_stability(seen.tolist(), shares.tolist()))
        bins = len(edges) + 1
    assert bins == (5 if films == 163 else 10)
    assert np.mean(found) == pytest.approx(expected_without_drift(bins, films, answers), rel=0.15)
    assert max(found) < ALARM


# What is counted


def test_findings_and_probabilities_are_counted(model: LoadedModel) -> None:
    statistics = FindingStatistics(lambda: [model])
    probabilities = [0.0, 0.1, 0.3, 1.0, *np.random.default_rng(3).random(500).round(6).tolist()]
    for probability in probabilities:
        statistics.observed(answer(model, normal=1 - probability, pneumonia=probability), PATIENT)
    text = scraped(statistics)
    histogram = "cxrserve_finding_probability"
    for positive in (True, False):
        said = total(text, "cxrserve_findings_total", **TINY, positive=str(positive).lower())
        assert said == sum((one >= 0.5) is positive for one in probabilities)
    for bound in (0.1, 0.3, 0.7, 1.0):
        said = total(text, f"{histogram}_bucket", **TINY, le=str(bound))
        assert said == sum(one <= bound for one in probabilities), bound
    assert total(text, f"{histogram}_count", **TINY) == len(probabilities)
    assert total(text, f"{histogram}_sum", **TINY) == pytest.approx(sum(probabilities))
    assert total(text, "cxrserve_findings_total", label="normal") == 0, "it has no threshold"
    assert total(text, f"{histogram}_count", label="normal") == len(probabilities)


@pytest.mark.parametrize(
    "image",
    [
        PATIENT.model_copy(update={"warnings": (Remark(code="phantom", detail="drawn"),)}),
        PATIENT.model_copy(update={"reasons": (Remark(code="not_a_chest", detail="a hand"),)}),
    ],
    ids=["phantom", "refused, but forced"],
)
def test_what_shows_no_patients_chest_is_not_counted(model: LoadedModel, image: ImageSeen) -> None:
    statistics = FindingStatistics(lambda: [model])
    tell(statistics, model, [0.3])
    before = scraped(statistics)
    for _ in range(300):
        statistics.observed(answer(model, pneumonia=0.99), image)
    assert scraped(statistics) == before
    doubtful = PATIENT.model_copy(update={"warnings": (Remark(code="inverted", detail=""),)})
    statistics.observed(answer(model, pneumonia=0.99), doubtful)
    assert total(scraped(statistics), "cxrserve_finding_probability_count", **TINY) == 2


def test_masks_and_untrained_labels_have_no_probability(tmp_path: Path) -> None:
    labels = [{"name": "pneumonia"}, {"name": "edema", "trained": False}]
    model = tiny(tmp_path / "tiny", labels=labels)
    lungs = loaded(read_package(write_tiny_segmentation(tmp_path / "lungs")), load_onnx_cpu)
    statistics = FindingStatistics(lambda: [model, lungs])
    statistics.observed(answer(model, pneumonia=0.7, edema=None) + answer(lungs), PATIENT)
    assert {(one.labels["model"], one.labels["label"]) for one in samples(scraped(statistics))} == {
        ("tiny@1.0.0", "pneumonia")
    }
    for one in (model, lungs):
        one.engine.close()


# Drift


def test_the_index_waits_for_enough_answers(model: LoadedModel) -> None:
    statistics = FindingStatistics(lambda: [model])
    tell(statistics, model, np.random.default_rng(5).random(FEWEST - 1).tolist())
    assert index(statistics) is None
    tell(statistics, model, [0.5])
    found = index(statistics)
    assert found is not None
    assert found < noise(answers=FEWEST) < ALARM


def test_a_shift_is_seen_and_the_window_forgets_it(model: LoadedModel) -> None:
    draws = np.random.default_rng(6)
    statistics = FindingStatistics(lambda: [model])
    told: list[float] = []
    for probabilities in (draws.random(WINDOW), draws.beta(4, 1, 600), draws.random(WINDOW + 7)):
        tell(statistics, model, probabilities.tolist())
        told += probabilities.tolist()
        counts = _counts(np.array(told[-WINDOW:]), np.array([0.25, 0.5, 0.75]))
        assert index(statistics) == pytest.approx(population_stability(counts.tolist(), [0.25] * 4))
        if len(told) == WINDOW + 600:
            assert (index(statistics) or 0) > ALARM
    assert (index(statistics) or 1) < noise()


def test_a_probability_on_an_edge_lies_above_it(tmp_path: Path) -> None:
    shares = [0.1, 0.2, 0.3, 0.4]
    model = tiny(tmp_path / "tiny", reference=reference(shares=shares))
    statistics = FindingStatistics(lambda: [model])
    tell(statistics, model, [0.25] * FEWEST)
    assert index(statistics) == population_stability([0, FEWEST, 0, 0], shares)
    model.engine.close()


def test_a_package_without_reference_is_counted_all_the_same(tmp_path: Path) -> None:
    too_few_films = reference(edges=[], shares=[1.0])
    for place, said in (("none", None), ("too-few", too_few_films)):
        model = tiny(tmp_path / place, reference=said)
        statistics = FindingStatistics(lambda model=model: [model])  # type: ignore[misc]
        tell(statistics, model, [0.9] * WINDOW)
        assert index(statistics) is None
        assert total(scraped(statistics), "cxrserve_findings_total", positive="true") == WINDOW
        model.engine.close()


# Models come and go


def test_a_model_that_is_unloaded_disappears(tmp_path: Path) -> None:
    served = [tiny(tmp_path / "tiny"), tiny(tmp_path / "other", name="other")]
    statistics = FindingStatistics(lambda: served)
    gone = served[0]
    for model in served:
        tell(statistics, model, [0.5] * FEWEST)
    assert {one.labels["model"] for one in samples(scraped(statistics))} == {
        "tiny@1.0.0",
        "other@1.0.0",
    }
    served.remove(gone)
    tell(statistics, gone, [0.5])  # it was in flight
    assert {one.labels["model"] for one in samples(scraped(statistics))} == {"other@1.0.0"}
    again = tiny(tmp_path / "again", description="another package of the same name and version")
    served.append(again)
    tell(statistics, again, [0.5])
    assert total(scraped(statistics), "cxrserve_findings_total", model="tiny@1.0.0") == 1
    for model in (*served, gone):
        model.engine.close()


# What it costs


def test_memory_is_constant_and_a_label_costs_microseconds() -> None:
    model = loaded(read_package(MODELS / "nih14-cnn"), load_onnx_cpu)
    model.engine.close()
    names = [label.name for label in model.manifest.labels]
    assert len(names) == 14
    statistics = FindingStatistics(lambda: [model])
    draws = np.random.default_rng(8).random((50, len(names))).tolist()
    answers = [answer(model, **dict(zip(names, drawn, strict=True))) for drawn in draws]

    def told(times: int) -> float:
        began = time.perf_counter()
        for number in range(times):
            statistics.observed(answers[number % len(answers)], PATIENT)
        return (time.perf_counter() - began) / times / len(names)

    # The quickest of ten: others may work on this machine.
    assert min(told(WINDOW // 10) for _ in range(10)) < 20e-6
    tracemalloc.start()
    told(3 * WINDOW)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 8192


def _counts(probabilities: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Films in each bin, one comparison at a time."""
    places = (probabilities[:, None] >= edges[None]).sum(axis=1)
    return np.bincount(places, minlength=len(edges) + 1)
