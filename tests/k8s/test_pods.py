"""What holds for every container: probed, bounded, confined, and given the time to finish."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cxrserve.settings import Settings
from tests.k8s.manifests import (
    K8S,
    OPTIONAL,
    Manifest,
    Workload,
    built,
    environment,
    every_value,
    frontend,
    of_kind,
    overlay,
    with_component,
    workloads,
)

# No registry's host, a version or a digest.
_IMAGE = re.compile(r"^[a-z0-9-]+(:[0-9][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$")


def _each_container(manifests: tuple[Manifest, ...]) -> list[tuple[Workload, Manifest]]:
    pairs = [(one, container) for one in workloads(manifests) for container in one.containers]
    assert pairs
    return pairs


def _preparing_to_stop_s(container: Manifest) -> int:
    return int(container["lifecycle"]["preStop"]["sleep"]["seconds"])


def test_every_container_is_probed(manifests: tuple[Manifest, ...]) -> None:
    for workload, container in _each_container(manifests):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            target = container[probe]["httpGet"]
            assert target["port"] in workload.ports
            assert target["path"].startswith("/")


def test_the_service_is_asked_what_it_answers(manifests: tuple[Manifest, ...]) -> None:
    container = frontend(manifests).containers[0]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_a_first_warm_up_on_a_slow_node_is_waited_for(manifests: tuple[Manifest, ...]) -> None:
    # Twenty times what docs/footprint.md measured for the first start on a machine.
    for _, container in _each_container(manifests):
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 20 * 7.6


def test_every_container_is_bounded(manifests: tuple[Manifest, ...]) -> None:
    for _, container in _each_container(manifests):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests.keys() == limits.keys() >= {"cpu", "memory", "ephemeral-storage"}
        assert requests["cpu"] == limits["cpu"]
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")


def test_a_hostile_film_in_a_reader_does_not_end_the_pod(manifests: tuple[Manifest, ...]) -> None:
    # A DICOM reader may grow to 3 GiB (radiograph/sandbox.py); at rest: docs/footprint.md.
    memory = frontend(manifests).containers[0]["resources"]["limits"]["memory"]
    amount, unit = int(memory[:-2]), memory[-2:]
    assert amount * {"Mi": 1, "Gi": 1024}[unit] > 3 * 1024 + 538


def test_threads_are_the_cores_of_the_limit(manifests: tuple[Manifest, ...]) -> None:
    workload = frontend(manifests)
    limit = workload.containers[0]["resources"]["limits"]["cpu"]
    assert environment(manifests, workload)["CXRSERVE_PROCESSORS"] == limit
    assert int(limit) >= 1


def test_every_pod_is_confined(manifests: tuple[Manifest, ...]) -> None:
    for workload, container in _each_container(manifests):
        pod, own = workload.pod["securityContext"], container["securityContext"]
        assert pod["runAsNonRoot"] is own["runAsNonRoot"] is True
        assert pod["runAsUser"] > 0
        assert pod["fsGroup"] == pod["runAsGroup"] > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is own["privileged"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        for sharing in ("hostNetwork", "hostPID", "hostIPC"):
            assert sharing not in workload.pod
        for volume in workload.pod["volumes"]:
            assert "hostPath" not in volume


def test_what_is_written_has_a_volume_with_a_bound(manifests: tuple[Manifest, ...]) -> None:
    for workload, container in _each_container(manifests):
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        for volume in workload.pod["volumes"]:
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]
            else:
                assert mounts[volume["name"]]["readOnly"] is True
        assert mounts["tmp"]["mountPath"] == "/tmp"
    workload = frontend(manifests)
    variables = environment(manifests, workload)
    writable = [mount["mountPath"] for mount in workload.containers[0]["volumeMounts"]]
    for variable in ("HOME", "BENTOML_HOME", "CXRSERVE_CACHE_DIR"):
        assert any(Path(variables[variable]).is_relative_to(place) for place in writable)


def test_no_pod_can_ask_the_api_server(manifests: tuple[Manifest, ...]) -> None:
    accounts = {
        one["metadata"]["name"]: one["automountServiceAccountToken"]
        for one in of_kind(manifests, "ServiceAccount")
    }
    for workload in workloads(manifests):
        assert workload.pod["automountServiceAccountToken"] is False
        assert accounts[workload.pod["serviceAccountName"]] is False
    for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        assert not of_kind(manifests, kind)


def test_namespaces_let_no_other_pods_in(manifests: tuple[Manifest, ...]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for one in manifests:
        if one["kind"] not in ("Namespace", "PriorityClass"):
            assert one["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_images_have_a_version_and_name_no_registry(manifests: tuple[Manifest, ...]) -> None:
    for workload, container in _each_container(manifests):
        images = [container["image"]]
        images += [one["image"]["reference"] for one in workload.pod["volumes"] if "image" in one]
        for image in images:
            assert _IMAGE.match(image), image


@pytest.mark.parametrize("component", ["models-image", "models-claim"])
def test_models_from_outside_are_named_by_a_digest(component: str, tmp_path: Path) -> None:
    manifests = with_component(tmp_path, component)
    workload = frontend(manifests)
    (volume,) = [one for one in workload.pod["volumes"] if one["name"] == "models"]
    folder = environment(manifests, workload)["CXRSERVE_MODELS_DIR"]
    where = volume["image"]["reference"] if component == "models-image" else folder
    assert re.search(r"sha256[:-][0-9a-f]{64}$", where)
    (mount,) = [one for one in workload.containers[0]["volumeMounts"] if one["name"] == "models"]
    assert Path(folder).is_relative_to(mount["mountPath"])
    assert mount["readOnly"] is True


def test_tritons_models_are_named_by_a_digest() -> None:
    for workload in workloads(overlay("gpu-triton")):
        for volume in workload.pod["volumes"]:
            if volume["name"] == "models":
                assert "@sha256:" in volume["image"]["reference"]


def test_grpc_over_tls_finds_its_secret(tmp_path: Path) -> None:
    manifests = with_component(tmp_path, "grpc-tls")
    workload = frontend(manifests)
    variables = environment(manifests, workload)
    (volume,) = [one for one in workload.pod["volumes"] if "secret" in one]
    (mount,) = [
        one for one in workload.containers[0]["volumeMounts"] if one["name"] == volume["name"]
    ]
    assert variables["CXRSERVE_GRPC_TLS_CERT"] == f"{mount['mountPath']}/tls.crt"
    assert variables["CXRSERVE_GRPC_TLS_KEY"] == f"{mount['mountPath']}/tls.key"
    # Readable by the group that the pod's volumes belong to, and by nobody else.
    assert volume["secret"]["defaultMode"] == 0o440


def test_secrets_are_files_and_come_from_elsewhere(manifests: tuple[Manifest, ...]) -> None:
    assert not of_kind(manifests, "Secret")
    assert "secretKeyRef" not in set(every_value(list(manifests)))


def test_the_service_may_finish_what_it_took_in(manifests: tuple[Manifest, ...]) -> None:
    workload = frontend(manifests)
    variables = environment(manifests, workload)
    drain_s = int(variables["CXRSERVE_SHUTDOWN_GRACE_S"])
    assert drain_s >= float(variables["CXRSERVE_DEFAULT_DEADLINE_MS"]) / 1e3
    delay_s = float(variables["CXRSERVE_SHUTDOWN_DELAY_S"])
    assert delay_s >= 5
    preparing_s = _preparing_to_stop_s(workload.containers[0]) + delay_s
    assert preparing_s >= 10
    # First HTTP, then gRPC, each as long as that.
    assert workload.pod["terminationGracePeriodSeconds"] > preparing_s + 2 * drain_s


def test_triton_may_finish_what_it_took_in() -> None:
    manifests = overlay("gpu-triton")
    (triton,) = [one for one in workloads(manifests) if one.name == "triton"]
    (container,) = triton.containers
    (exit_s,) = [
        int(word.partition("=")[2])
        for word in container["args"]
        if word.startswith("--exit-timeout-secs=")
    ]
    deadline_ms = float(environment(manifests, frontend(manifests))["CXRSERVE_DEFAULT_DEADLINE_MS"])
    assert exit_s > deadline_ms / 1e3
    grace_s = triton.pod["terminationGracePeriodSeconds"]
    assert grace_s > _preparing_to_stop_s(container) + exit_s


def test_priorities_exist(manifests: tuple[Manifest, ...]) -> None:
    classes = {one["metadata"]["name"]: one["value"] for one in of_kind(manifests, "PriorityClass")}
    for workload in workloads(manifests):
        assert workload.pod["priorityClassName"] in classes
    assert classes["cxrserve-serving"] > 0 > classes["cxrserve-spare"]


def test_pods_spread_over_nodes(manifests: tuple[Manifest, ...]) -> None:
    for workload in workloads(manifests):
        spread = workload.pod["topologySpreadConstraints"]
        assert "kubernetes.io/hostname" in {one["topologyKey"] for one in spread}
        for constraint in spread:
            assert workload.is_selected_by(constraint["labelSelector"])


def test_a_roll_out_never_leaves_too_few() -> None:
    for name in ("cpu", "keda", "gpu-triton"):
        strategy = frontend(overlay(name)).manifest["spec"]["strategy"]["rollingUpdate"]
        assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("component", OPTIONAL)
def test_components_keep_what_base_promises(component: str, tmp_path: Path) -> None:
    manifests = with_component(tmp_path, component)
    test_every_pod_is_confined(manifests)
    test_what_is_written_has_a_volume_with_a_bound(manifests)
    test_every_setting_is_one(manifests, pytest.MonkeyPatch())


def test_every_setting_is_one(
    manifests: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {f"CXRSERVE_{name.upper()}" for name in Settings.model_fields}
    variables = environment(manifests, frontend(manifests))
    ours = {name: value for name, value in variables.items() if name.startswith("CXRSERVE_")}
    assert ours.keys() <= known
    with monkeypatch.context() as patched:
        for name, value in ours.items():
            patched.setenv(name, value)
        settings = Settings()
    assert settings.cache_dir == Path("/var/cache/cxrserve")
    assert variables["BENTOML_DO_NOT_TRACK"] == "True"


def test_base_alone_is_confined() -> None:
    test_every_pod_is_confined(built(K8S / "base"))
