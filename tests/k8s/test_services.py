"""Who finds whom: ports, selectors, routes, scrapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route
from tritonclient.grpc import service_pb2

from cxrserve.api.rest import create_app
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from cxrserve.v1 import radiology_pb2
from tests.k8s.manifests import (
    Manifest,
    Workload,
    environment,
    frontend,
    named,
    of_kind,
    overlay,
    workloads,
)

# For operators, not for callers.
_INSIDE = ("/metrics", "/v2/repository", "/v2/logging", "/v2/trace")
_INSIDE_TOO = ("/v2/systemsharedmemory", "/v2/cudasharedmemory")
_INSIDE_BY_GRPC = ("Repository", "Trace", "Log", "SharedMemory")


def _selected(manifests: tuple[Manifest, ...], labels: Manifest) -> list[Workload]:
    return [one for one in workloads(manifests) if one.is_selected_by({"matchLabels": labels})]


def test_ports_are_those_of_the_settings(manifests: tuple[Manifest, ...]) -> None:
    workload = frontend(manifests)
    variables = environment(manifests, workload)
    assert workload.ports == {
        "http": int(variables["CXRSERVE_HTTP_PORT"]),
        "grpc": int(variables["CXRSERVE_GRPC_PORT"]),
    }
    service = named(manifests, "Service", "cxrserve")
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == workload.ports


def test_every_service_leads_to_one_kind_of_pod(manifests: tuple[Manifest, ...]) -> None:
    for service in of_kind(manifests, "Service"):
        (workload,) = _selected(manifests, service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in workload.ports
            assert port["port"] == workload.ports[port["targetPort"]]


def test_grpc_clients_see_every_pod(manifests: tuple[Manifest, ...]) -> None:
    service = named(manifests, "Service", "cxrserve-grpc")["spec"]
    assert service["clusterIP"] == "None"
    assert "publishNotReadyAddresses" not in service
    # Else those who came before a pod did would never ask it.
    age_s = float(environment(manifests, frontend(manifests))["CXRSERVE_GRPC_MAX_CONNECTION_AGE_S"])
    assert age_s <= 600


def test_workloads_select_their_own_pods(manifests: tuple[Manifest, ...]) -> None:
    for workload in workloads(manifests):
        selector = workload.manifest["spec"]["selector"]
        assert workload.is_selected_by(selector)
        assert _selected(manifests, selector["matchLabels"]) == [workload]


def test_each_workload_has_a_disruption_budget(manifests: tuple[Manifest, ...]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for workload in workloads(manifests):
        (budget,) = [one for one in budgets if workload.is_selected_by(one["spec"]["selector"])]
        assert budget["spec"]["maxUnavailable"] == 1


def test_each_workload_is_scraped_once(manifests: tuple[Manifest, ...]) -> None:
    monitors = of_kind(manifests, "ServiceMonitor")
    scraped = []
    for monitor in monitors:
        labels = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [
            one
            for one in of_kind(manifests, "Service")
            if labels.items() <= one["metadata"]["labels"].items()
        ]
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = [one for one in service["spec"]["ports"] if one["name"] == endpoint["port"]]
        (workload,) = _selected(manifests, service["spec"]["selector"])
        assert port["targetPort"] in workload.ports
        scraped.append(workload.name)
    expected = sorted(one.name for one in workloads(manifests))
    assert sorted(scraped) == (expected if monitors else [])
    namespace = of_kind(manifests, "Namespace")[0]["metadata"]["name"]
    assert bool(monitors) == (namespace != "cxrserve-dev")


@pytest.mark.parametrize("name", ["cpu", "keda", "gpu-local", "gpu-triton"])
def test_routes_lead_to_the_service(name: str) -> None:
    manifests = overlay(name)
    ports = {
        port["port"]: port for port in named(manifests, "Service", "cxrserve")["spec"]["ports"]
    }
    for kind, wanted in (("HTTPRoute", "http"), ("GRPCRoute", "grpc")):
        (rule,) = named(manifests, kind, "cxrserve")["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        assert backend["name"] == "cxrserve"
        assert ports[backend["port"]]["name"] == wanted
    # Else a gateway would speak HTTP/1.1 to it.
    assert ports[3001]["appProtocol"] == "kubernetes.io/h2c"


def _routed(matches: list[Manifest], path: str) -> bool:
    for match in matches:
        kind, value = match["path"]["type"], match["path"]["value"]
        if path == value or (kind == "PathPrefix" and path.startswith(f"{value}/")):
            return True
    return False


def test_callers_reach_what_is_for_them_and_nothing_else(tmp_path: Path) -> None:
    app = create_app(Runtime(Settings(models_dir=tmp_path)))
    paths = {route.path for route in app.routes if isinstance(route, APIRoute | Mount | Route)} - {
        "/{path:path}"
    } | set(app.openapi()["paths"])
    assert {"/v1/predict", "/v1/predict/batch", "/metrics", "/v2", "/v2/repository/index"} <= paths
    (rule,) = named(overlay("cpu"), "HTTPRoute", "cxrserve")["spec"]["rules"]
    for path in paths:
        assert _routed(rule["matches"], path) is not path.startswith(_INSIDE + _INSIDE_TOO), path
    for path in ("/livez", "/readyz", "/healthz", "/metrics/", "/v1x"):
        assert not _routed(rule["matches"], path)


def test_grpc_callers_reach_what_is_for_them_and_nothing_else() -> None:
    (rule,) = named(overlay("cpu"), "GRPCRoute", "cxrserve")["spec"]["rules"]
    routed = [match["method"] for match in rule["matches"]]
    radiology = radiology_pb2.DESCRIPTOR.services_by_name["Radiology"]
    assert [one for one in routed if "method" not in one] == [
        {"type": "Exact", "service": radiology.full_name}
    ]
    inference = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {one["service"] for one in routed if "method" in one} == {inference.full_name}
    assert {one["method"] for one in routed if "method" in one} == {
        method.name
        for method in inference.methods
        if not any(word in method.name for word in _INSIDE_BY_GRPC)
    }
