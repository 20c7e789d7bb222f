"""What `k8s/` deploys, in code: for those who plan without a checkout. A test holds them equal."""

from __future__ import annotations

from cxrserve.simulation.autoscaling.manifests import (
    Autoscaling,
    Behavior,
    ScalingPolicy,
    ScalingRules,
)
from cxrserve.simulation.autoscaling.signals import predicted, wait_share

TARGET = 0.6
"""Of the predicted utilisation."""

WAIT_TARGET = 0.2
"""Of the wait share."""

_BEHAVIOR = Behavior(
    up=ScalingRules(
        stabilization_s=0,
        select="Max",
        policies=(
            ScalingPolicy(type="Percent", value=400, period_s=15),
            ScalingPolicy(type="Pods", value=4, period_s=15),
        ),
    ),
    down=ScalingRules(
        stabilization_s=300,
        select="Min",
        policies=(
            ScalingPolicy(type="Percent", value=25, period_s=60),
            ScalingPolicy(type="Pods", value=2, period_s=60),
        ),
    ),
)


def recommended(*, least: int = 3, most: int = 20, target: float = TARGET) -> Autoscaling:
    """The HorizontalPodAutoscaler of `k8s/components/autoscaling`, for other numbers."""
    return Autoscaling(
        least=least,
        most=most,
        metrics=(predicted(target), wait_share(WAIT_TARGET)),
        behavior=_BEHAVIOR.filled(),
        scrape_s=7.0,
    )
