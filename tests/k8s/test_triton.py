"""Front-ends ask exactly the Tritons that there are."""

from __future__ import annotations

from cxrserve.settings import Settings
from tests.k8s.manifests import Workload, environment, frontend, named, overlay


def _triton() -> Workload:
    return Workload(named(overlay("gpu-triton"), "StatefulSet", "triton"))


def test_every_triton_is_named_and_no_other() -> None:
    manifests, triton = overlay("gpu-triton"), _triton()
    spec = triton.manifest["spec"]
    service = named(manifests, "Service", spec["serviceName"])
    # A circuit is about one Triton, also one that is not ready.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    expected = tuple(
        f"{triton.name}-{place}.{spec['serviceName']}:{triton.ports['grpc']}"
        for place in range(spec["replicas"])
    )
    variables = environment(manifests, frontend(manifests))
    told = Settings(triton_endpoints=variables["CXRSERVE_TRITON_ENDPOINTS"])
    assert told.triton_endpoints == expected


def test_triton_listens_where_it_is_asked() -> None:
    triton = _triton()
    (container,) = triton.containers
    options = dict(word.removeprefix("--").split("=") for word in container["args"] if "=" in word)
    for name, port in triton.ports.items():
        assert options[f"{name}-port"] == str(port)
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "models"]
    assert options["model-repository"] == mount["mountPath"]
    assert options["model-control-mode"] == "none"


def test_gpus_are_tritons() -> None:
    manifests = overlay("gpu-triton")
    assert _triton().containers[0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in frontend(manifests).containers[0]["resources"]["limits"]


def test_the_local_gpu_is_the_pods_own() -> None:
    container = frontend(overlay("gpu-local")).containers[0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].startswith("cxrserve-gpu:")


def test_what_has_not_run_on_a_gpu_says_so() -> None:
    local = frontend(overlay("gpu-local")).manifest
    for manifest in (local, _triton().manifest):
        assert "has run on a GPU" in manifest["metadata"]["annotations"]["cxrserve/unmeasured"]
