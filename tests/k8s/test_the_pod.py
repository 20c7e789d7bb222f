"""The service runs under what the manifests leave it: no network, no rights, a read-only root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxrserve.radiograph.phantom import write_phantom
from tests.k8s.manifests import environment, frontend, overlay

_ROOT = Path(__file__).resolve().parents[2]


def _can_play() -> bool:
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "ip", "mount"))):
        return False
    probe = ["unshare", "--net", "--mount", "mount", "--make-rprivate", "/"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.server
@pytest.mark.skipif(not _can_play(), reason="needs root, and leave to make namespaces")
def test_the_service_lives_in_its_confinement(tmp_path: Path) -> None:
    manifests = overlay("cpu")
    workload = frontend(manifests)
    container = workload.containers[0]
    python = Path(os.environ.get("CXRSERVE_SERVING_PYTHON", sys.executable))
    path = f"{python.parent}:/usr/bin:/bin"
    pod = {
        "user": workload.pod["securityContext"]["runAsUser"],
        "environment": environment(manifests, workload) | {"PATH": path},
        "writable": [mount["mountPath"] for mount in container["volumeMounts"]],
        "command": container["command"],
        "folder": str(_ROOT),
        "port": workload.ports["http"],
    }
    hidden = [place for place in pod["writable"] if Path(place) in _ROOT.parents]
    if hidden:
        pytest.skip(f"the checkout lies in {hidden[0]}, which the pod has to itself")
    films = [tmp_path / "film.png", tmp_path / "film.dcm"]
    for film in films:
        write_phantom(film)
    player = [str(python), str(Path(__file__).with_name("in_a_pod.py")), *map(str, films)]
    out = subprocess.run(
        ["unshare", "--net", "--mount", *player],
        input=json.dumps(pod),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert out.returncode == 0, out.stderr
    said = json.loads(out.stdout.splitlines()[-1])
    print(said)
    assert said["root_is_read_only"]
    assert said["findings"] == [3, 3]
    assert said["exit_code"] == 0
    # A container that is killed finds its tables in the volume: it does not measure again.
    assert said["tables_kept"] > 0
