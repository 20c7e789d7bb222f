"""Of each CRD we use, the fields we use, and no other: a misspelt one is refused.

Each field was looked up in the projects' own types (docs/kubernetes.md says which versions); what
their schemas refuse besides is not known here.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT: Schema = {"type": "integer", "minimum": 0}
# GEP-2257
_GATEWAY_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
_PROMETHEUS_DURATION: Schema = {"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$"}
_HOST: Schema = {
    "type": "string",
    "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}


def _only(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def _some(items: Schema, most: int | None = None) -> Schema:
    limit = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, "minItems": 1, **limit}


_METADATA = _only(
    ("name",),
    name=_TEXT,
    namespace=_TEXT,
    labels={"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
    annotations={"type": "object", "additionalProperties": {"type": "string"}},
)


def _resource(spec: Schema) -> Schema:
    return _only(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_METADATA,
        spec=spec,
    )


_PARENTS = _some(_only(("name",), name=_TEXT, namespace=_TEXT, sectionName=_TEXT), 32)
_BACKENDS = _some(_only(("name", "port"), name=_TEXT, port=_PORT), 16)
_HTTP_ROUTE = _only(
    ("parentRefs", "rules"),
    parentRefs=_PARENTS,
    hostnames=_some(_HOST, 16),
    rules=_some(
        _only(
            ("matches", "backendRefs"),
            matches=_some(
                _only(
                    ("path",),
                    path=_only(
                        ("type", "value"),
                        type={"enum": ["Exact", "PathPrefix"]},
                        value={"type": "string", "pattern": "^/", "maxLength": 1024},
                    ),
                ),
                64,
            ),
            backendRefs=_BACKENDS,
            timeouts=_only((), request=_GATEWAY_DURATION, backendRequest=_GATEWAY_DURATION),
        ),
        16,
    ),
)
_GRPC_ROUTE = _only(
    ("parentRefs", "rules"),
    parentRefs=_PARENTS,
    hostnames=_some(_HOST, 16),
    rules=_some(
        _only(
            ("matches", "backendRefs"),
            matches=_some(
                _only(
                    ("method",),
                    method=_only(
                        ("type", "service"),
                        type={"const": "Exact"},
                        service={
                            "type": "string",
                            "pattern": r"^(?i:\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*)$",
                        },
                        method={"type": "string", "pattern": "^[A-Za-z_][A-Za-z_0-9]*$"},
                    ),
                ),
                64,
            ),
            backendRefs=_BACKENDS,
        ),
        16,
    ),
)
_SERVICE_MONITOR = _only(
    ("selector", "endpoints"),
    selector=_only(
        ("matchLabels",),
        matchLabels={"type": "object", "additionalProperties": {"type": "string"}},
    ),
    endpoints=_some(
        _only(
            ("port", "path"),
            port=_TEXT,
            path={"type": "string", "pattern": "^/"},
            interval=_PROMETHEUS_DURATION,
            scrapeTimeout=_PROMETHEUS_DURATION,
            honorLabels={"type": "boolean"},
        )
    ),
)
_RULE = {
    "oneOf": [
        _only(("record", "expr"), record=_TEXT, expr=_TEXT),
        _only(
            ("alert", "expr", "labels", "annotations"),
            alert=_TEXT,
            expr=_TEXT,
            **{"for": _PROMETHEUS_DURATION},
            labels={"type": "object", "additionalProperties": _TEXT},
            annotations={"type": "object", "additionalProperties": _TEXT},
        ),
    ]
}
_PROMETHEUS_RULE = _only(
    ("groups",),
    groups=_some(
        _only(("name", "rules"), name=_TEXT, interval=_PROMETHEUS_DURATION, rules=_some(_RULE))
    ),
)
_SCALING_RULES = _only(
    (),
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=_some(
        _only(
            ("type", "value", "periodSeconds"),
            type={"enum": ["Pods", "Percent"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        )
    ),
)
_SCALED_OBJECT = _only(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=_only(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    pollingInterval=_COUNT,
    fallback=_only(
        ("failureThreshold", "replicas"),
        failureThreshold=_COUNT,
        replicas=_COUNT,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher"]},
    ),
    triggers=_some(
        _only(
            ("type", "metadata"),
            type={"const": "prometheus"},
            name=_TEXT,
            metricType={"enum": ["AverageValue", "Value"]},
            # KEDA takes strings only.
            metadata=_only(
                ("serverAddress", "query", "threshold"),
                serverAddress={"type": "string", "pattern": "^https?://"},
                query=_TEXT,
                threshold={"type": "string", "pattern": r"^[0-9.]+$"},
                ignoreNullValues={"enum": ["true", "false"]},
            ),
        )
    ),
    advanced=_only(
        (),
        restoreToOriginalReplicaCount={"type": "boolean"},
        horizontalPodAutoscalerConfig=_only(
            (), name=_TEXT, behavior=_only((), scaleUp=_SCALING_RULES, scaleDown=_SCALING_RULES)
        ),
    ),
)

SCHEMAS: dict[tuple[str, str], Schema] = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _resource(_HTTP_ROUTE),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): _resource(_GRPC_ROUTE),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _resource(_SERVICE_MONITOR),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _resource(_PROMETHEUS_RULE),
    ("keda.sh/v1alpha1", "ScaledObject"): _resource(_SCALED_OBJECT),
}
"""By `apiVersion` and `kind`."""
