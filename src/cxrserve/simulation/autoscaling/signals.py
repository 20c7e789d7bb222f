"""What an autoscaler can look at: by name, as docs/kubernetes.md compares them."""

from __future__ import annotations

from collections.abc import Callable

from cxrserve.simulation.autoscaling.manifests import Metric
from cxrserve.simulation.autoscaling.queries import Query

RATE_WINDOW_S = 30.0
_WAIT_WINDOW_S = 30.0


def predicted(target: float, *, window_s: float = RATE_WINDOW_S) -> Metric:
    """Predicted utilisation: what all who come would take, over what there is."""
    query = Query("rate", "demanded_s", window_s, "processors")
    return Metric("Pods", "cxrserve_predicted_utilisation", target, query)


def utilisation(target: float, *, window_s: float = RATE_WINDOW_S) -> Metric:
    """The share of the time that processors worked."""
    query = Query("rate", "busy_s", window_s, "processors")
    return Metric("Pods", "cxrserve_utilisation", target, query)


def wait_share(target: float) -> Metric:
    """What a newcomer would wait, as a share of the SLO."""
    query = Query("max_over_time", "expected_wait_s", _WAIT_WINDOW_S, "slo_s")
    return Metric("Pods", "cxrserve_wait_share", target, query)


def waiting(target: float) -> Metric:
    """Requests that wait, a replica."""
    query = Query("max_over_time", "waiting", _WAIT_WINDOW_S)
    return Metric("Pods", "cxrserve_queue_requests", target, query)


def cpu(target: float) -> Metric:
    """CPU % as the kubelet and metrics-server give it: late, and never beyond the limit."""
    return Metric("Resource", "cpu", target)


SIGNALS: dict[str, Callable[[float], Metric]] = {
    "predicted": predicted,
    "utilisation": utilisation,
    "wait": wait_share,
    "waiting": waiting,
    "cpu": cpu,
}
