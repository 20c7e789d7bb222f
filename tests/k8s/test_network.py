"""Nothing leaves, and only who is named comes in."""

from __future__ import annotations

from tests.k8s.manifests import (
    FRONTEND,
    OVERLAYS,
    Manifest,
    frontend,
    named,
    of_kind,
    overlay,
    workloads,
)

_TRITON = {"app.kubernetes.io/name": "triton", "app.kubernetes.io/component": "inference"}
_DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}
_TO_TRITON = {
    "to": [{"podSelector": {"matchLabels": _TRITON}}],
    "ports": [{"protocol": "TCP", "port": "grpc"}],
}


def _policies(manifests: tuple[Manifest, ...]) -> list[Manifest]:
    return of_kind(manifests, "NetworkPolicy")


def _egress(manifests: tuple[Manifest, ...]) -> list[Manifest]:
    return [rule for one in _policies(manifests) for rule in one["spec"].get("egress") or []]


def test_what_no_policy_names_is_denied(manifests: tuple[Manifest, ...]) -> None:
    spec = named(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_nothing_leaves() -> None:
    for name in OVERLAYS:
        rules = _egress(overlay(name))
        assert rules == ([_TO_TRITON, _DNS] if name == "gpu-triton" else []), name


def test_every_rule_names_pods_and_ports(manifests: tuple[Manifest, ...]) -> None:
    for policy in _policies(manifests):
        for rule in policy["spec"].get("ingress") or []:
            assert rule["from"]
            assert rule["ports"]
            assert all("ipBlock" not in peer for peer in rule["from"])


def test_policies_apply_to_pods_and_to_ports_that_are_there(
    manifests: tuple[Manifest, ...],
) -> None:
    for policy in _policies(manifests):
        if policy["metadata"]["name"] == "default-deny":
            continue
        (workload,) = [
            one for one in workloads(manifests) if one.is_selected_by(policy["spec"]["podSelector"])
        ]
        for rule in policy["spec"].get("ingress") or []:
            for port in rule["ports"]:
                assert port["port"] in workload.ports
    covered = [
        one
        for one in workloads(manifests)
        if any(
            one.is_selected_by(policy["spec"]["podSelector"])
            for policy in _policies(manifests)
            if policy["spec"]["podSelector"]
        )
    ]
    assert covered == workloads(manifests)


def test_prometheus_and_gateway_come_in(manifests: tuple[Manifest, ...]) -> None:
    gateway, prometheus = named(manifests, "NetworkPolicy", "cxrserve")["spec"]["ingress"]
    assert [port["port"] for port in gateway["ports"]] == ["http", "grpc"]
    assert gateway["from"][0] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway-system"}}
    }
    assert [port["port"] for port in prometheus["ports"]] == ["http"]
    assert frontend(manifests).is_selected_by({"matchLabels": FRONTEND})


def test_the_gateway_that_is_let_in_is_the_routes_own() -> None:
    manifests = overlay("cpu")
    gateway, _ = named(manifests, "NetworkPolicy", "cxrserve")["spec"]["ingress"]
    let_in = gateway["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    for kind in ("HTTPRoute", "GRPCRoute"):
        (parent,) = named(manifests, kind, "cxrserve")["spec"]["parentRefs"]
        assert parent["namespace"] == let_in


def test_only_front_ends_and_prometheus_reach_triton() -> None:
    policy = named(overlay("gpu-triton"), "NetworkPolicy", "triton")["spec"]
    asking, scraping = policy["ingress"]
    assert asking == {
        "from": [{"podSelector": {"matchLabels": FRONTEND}}],
        "ports": [{"protocol": "TCP", "port": "grpc"}],
    }
    assert [port["port"] for port in scraping["ports"]] == ["metrics"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy.get("egress")
