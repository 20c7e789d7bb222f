"""What is deployed, read from the manifests: so that what is simulated is what is deployed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cxrserve.simulation.autoscaling.quantities import quantity, seconds
from cxrserve.simulation.autoscaling.queries import Query, adapter_query, query_of

Quantity = Annotated[float, BeforeValidator(quantity)]


class _Manifest(BaseModel):
    """Kubernetes checks what it knows; here only what the simulator needs is read."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")


class ScalingPolicy(_Manifest):
    """At most `value` pods, or percent of them, may come or go in `period_s` seconds."""

    type: Literal["Pods", "Percent"]
    value: int = Field(gt=0)
    period_s: int = Field(alias="periodSeconds", ge=1, le=1800)


class ScalingRules(_Manifest):
    """How fast one direction goes. None stands for Kubernetes' default."""

    stabilization_s: int | None = Field(None, alias="stabilizationWindowSeconds", ge=0, le=3600)
    select: Literal["Max", "Min", "Disabled"] = Field("Max", alias="selectPolicy")
    policies: tuple[ScalingPolicy, ...] | None = None
    tolerance: Quantity | None = None


_UP = ScalingRules(
    stabilization_s=0,
    policies=(
        ScalingPolicy(type="Pods", value=4, period_s=15),
        ScalingPolicy(type="Percent", value=100, period_s=15),
    ),
)
_DOWN = ScalingRules(
    stabilization_s=300,
    policies=(ScalingPolicy(type="Percent", value=100, period_s=15),),
)


class Behavior(_Manifest):
    """Both directions, Kubernetes' defaults filled in."""

    up: ScalingRules = Field(_UP, alias="scaleUp")
    down: ScalingRules = Field(_DOWN, alias="scaleDown")

    def filled(self) -> Behavior:
        """With the defaults of `autoscaling/v2` where nothing is said."""
        return Behavior(up=_filled(self.up, _UP), down=_filled(self.down, _DOWN))


def _filled(rules: ScalingRules, default: ScalingRules) -> ScalingRules:
    window = rules.stabilization_s
    return rules.model_copy(
        update={
            "stabilization_s": default.stabilization_s if window is None else window,
            "policies": default.policies if rules.policies is None else rules.policies,
        }
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric that an autoscaler follows.

    Attributes:
        kind: "Pods": a value of each pod, averaged; "Resource": CPU as a share of the request;
            "External": one value for all pods together.
        name: of the metric.
        target: what the average over the pods is to be.
        query: how Prometheus makes it; None for a resource.
    """

    kind: Literal["Pods", "Resource", "External"]
    name: str
    target: float
    query: Query | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """An autoscaler, and how old what it sees is.

    Attributes:
        least, most: replicas.
        scrape_s: seconds between two scrapes of a pod by Prometheus.
        kubelet_s: seconds over which the kubelet and metrics-server average CPU, and between
            their values.
    """

    least: int
    most: int
    metrics: tuple[Metric, ...]
    behavior: Behavior = field(default_factory=lambda: Behavior().filled())
    scrape_s: float = 7.0
    kubelet_s: float = 15.0

    def following(self, *metrics: Metric) -> Autoscaling:
        """The same, but for what it follows."""
        return replace(self, metrics=metrics)


class _Target(_Manifest):
    average_value: Quantity | None = Field(None, alias="averageValue")
    average_utilization: float | None = Field(None, alias="averageUtilization", gt=0)


class _Named(_Manifest):
    name: str


class _Source(_Manifest):
    metric: _Named | None = None
    name: str = ""
    target: _Target


class _MetricSpec(_Manifest):
    type: str
    pods: _Source | None = None
    resource: _Source | None = None


class _AutoscalerSpec(_Manifest):
    least: int = Field(1, alias="minReplicas", ge=1)
    most: int = Field(alias="maxReplicas", ge=1)
    metrics: tuple[_MetricSpec, ...] = Field(min_length=1)
    behavior: Behavior = Behavior()


class _TriggerMetadata(_Manifest):
    query: str
    threshold: float = Field(gt=0)


class _Trigger(_Manifest):
    type: Literal["prometheus"]
    name: str = ""
    metadata: _TriggerMetadata


class _AutoscalerConfig(_Manifest):
    behavior: Behavior = Behavior()


class _Advanced(_Manifest):
    config: _AutoscalerConfig = Field(_AutoscalerConfig(), alias="horizontalPodAutoscalerConfig")


class _ScaledObjectSpec(_Manifest):
    least: int = Field(0, alias="minReplicaCount", ge=0)
    most: int = Field(100, alias="maxReplicaCount", ge=1)
    triggers: tuple[_Trigger, ...] = Field(min_length=1)
    advanced: _Advanced = _Advanced()


_Spec = TypeVar("_Spec", bound=_Manifest)


def deployed(k8s: Path) -> Autoscaling:
    """The HorizontalPodAutoscaler of a folder of manifests, as the overlay `cpu` has it.

    Raises:
        ValueError: a file is missing, is no such manifest, or asks for what is not simulated.
    """
    found = autoscaler(
        k8s / "components" / "autoscaling" / "autoscaler.yaml",
        rules=k8s / "prometheus-adapter" / "values.yaml",
    )
    return replace(found, scrape_s=scrape_interval_s(k8s))


def deployed_with_keda(k8s: Path) -> Autoscaling:
    """The ScaledObject of a folder of manifests, as KEDA makes an autoscaler of it.

    Raises:
        ValueError: as `deployed`.
    """
    found = scaled_object(k8s / "overlays" / "keda" / "scaled-object.yaml")
    return replace(found, scrape_s=scrape_interval_s(k8s))


def autoscaler(file: Path, *, rules: Path) -> Autoscaling:
    """A HorizontalPodAutoscaler (autoscaling/v2) and the adapter's rules that feed it.

    Raises:
        ValueError: as `deployed`.
    """
    spec = _spec(file, _AutoscalerSpec)
    queries = {
        rule["name"]["as"]: adapter_query(rule["seriesQuery"], rule["metricsQuery"])
        for rule in _read(rules)["rules"]["custom"]
    }
    return Autoscaling(
        least=spec.least,
        most=spec.most,
        metrics=tuple(_metric(one, queries, file) for one in spec.metrics),
        behavior=spec.behavior.filled(),
    )


def scaled_object(file: Path) -> Autoscaling:
    """A ScaledObject of KEDA with triggers of the kind `prometheus`.

    Raises:
        ValueError: as `deployed`.
    """
    spec = _spec(file, _ScaledObjectSpec)
    return Autoscaling(
        least=spec.least,
        most=spec.most,
        metrics=tuple(
            Metric(
                "External", one.name, one.metadata.threshold, query_of(one.name, one.metadata.query)
            )
            for one in spec.triggers
        ),
        behavior=spec.advanced.config.behavior.filled(),
    )


def scrape_interval_s(k8s: Path) -> float:
    """How often Prometheus asks each pod, by the ServiceMonitor.

    Raises:
        ValueError: there is none, or it does not say.
    """
    file = k8s / "components" / "prometheus" / "service-monitor.yaml"
    try:
        return seconds(_read(file)["spec"]["endpoints"][0]["interval"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{file} names no interval") from error


def _metric(spec: _MetricSpec, queries: Mapping[str, Query], file: Path) -> Metric:
    if spec.type == "Resource" and spec.resource and spec.resource.target.average_utilization:
        if spec.resource.name != "cpu":
            raise ValueError(f"{file}: of resources only cpu is simulated")
        return Metric("Resource", "cpu", spec.resource.target.average_utilization / 100)
    if spec.type == "Pods" and spec.pods and spec.pods.metric and spec.pods.target.average_value:
        name = spec.pods.metric.name
        if name not in queries:
            known = ", ".join(queries)
            raise ValueError(f"{file}: no rule of the adapter makes {name}; they make {known}")
        return Metric("Pods", name, spec.pods.target.average_value, queries[name])
    raise ValueError(
        f"{file}: a metric of the kind {spec.type} with this target is not simulated: "
        "Pods with an averageValue and cpu with an averageUtilization are"
    )


def _spec(file: Path, kind: type[_Spec]) -> _Spec:
    try:
        return kind.model_validate(_read(file).get("spec"))
    except ValidationError as error:
        raise ValueError(f"{file}: {_told(error.errors())}") from error


def _told(faults: Iterable[Any]) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in faults)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no manifest")
    return found
