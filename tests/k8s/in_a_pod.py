"""Runs the service as a pod's security context would, and says how it went, as one line of JSON.

Started by `test_the_pod.py` under `unshare --net --mount`, as root: what is mounted here is seen
here only. The root is read-only but for the pod's own volumes, there is no network but loopback,
no capability, no way to get one, and the user owns nothing. Seccomp and cgroups are not played.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

_SYSTEM = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class Pod:
    """What of a pod's specification is played.

    Attributes:
        user: user and group.
        environment: the container's variables, whole.
        writable: where volumes are mounted.
        command: what the container runs.
        folder: in which it runs.
        port: HTTP port.
    """

    user: int
    environment: dict[str, str]
    writable: list[str]
    command: list[str]
    folder: str
    port: int


def main() -> None:
    pod = Pod(**json.loads(sys.stdin.read()))
    films = [Path(name).read_bytes() for name in sys.argv[1:]]
    _mount(*("--make-rprivate", "/"))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _let_everybody_reach(Path(sys.base_prefix))
    _make_read_only(pod)
    print(json.dumps(_live(pod, films)))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _let_everybody_reach(folder: Path) -> None:
    """An interpreter in root's home: an image has none there."""
    closed = next((one for one in reversed(folder.parents) if not one.stat().st_mode & 0o001), None)
    if closed is None:
        return
    held = os.open(folder, os.O_PATH)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(closed))
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "--no-canonicalize", "--bind", f"/proc/self/fd/{held}", str(folder)],
        check=True,
        pass_fds=[held],
    )


def _make_read_only(pod: Pod) -> None:
    for place in pod.writable:
        missing = Path(place)
        while not missing.parent.is_dir():
            missing = missing.parent
        if not missing.is_dir():
            _mount("-t", "tmpfs", "tmpfs", str(missing.parent))
            Path(place).mkdir(parents=True)
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in mounted:
        if not place.startswith(_SYSTEM):
            _mount("-o", "remount,bind,ro", place)
    for place in pod.writable:
        _mount("-t", "tmpfs", "-o", f"mode=770,uid={pod.user},gid={pod.user}", "tmpfs", place)


def _live(pod: Pod, films: list[bytes]) -> dict[str, object]:
    user = str(pod.user)
    drop = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    drop += ["--bounding-set=-all", "--inh-caps=-all"]
    cannot_write = subprocess.run(
        [*drop, "touch", f"{pod.folder}/written"], check=False, stderr=subprocess.DEVNULL
    ).returncode
    began = time.monotonic()
    service = subprocess.Popen(
        [*drop, *pod.command], cwd=pod.folder, env=pod.environment, stdout=sys.stderr
    )
    try:
        first_s = _until_ready(pod.port, service, began)
        findings = [_ask(pod.port, film) for film in films]
        service.send_signal(signal.SIGTERM)
        code = service.wait(30)
        tables = list(Path(pod.environment["CXRSERVE_CACHE_DIR"], "tables").glob("*"))
        began = time.monotonic()
        service = subprocess.Popen(
            [*drop, *pod.command], cwd=pod.folder, env=pod.environment, stdout=sys.stderr
        )
        again_s = _until_ready(pod.port, service, began)
        service.send_signal(signal.SIGTERM)
        service.wait(30)
    finally:
        if service.poll() is None:
            service.terminate()
            service.wait(30)
    return {
        "root_is_read_only": cannot_write != 0,
        "first_start_s": round(first_s, 1),
        "start_with_tables_s": round(again_s, 1),
        "tables_kept": len(tables),
        "findings": findings,
        "exit_code": code,
    }


def _until_ready(port: int, service: subprocess.Popen[bytes], began: float) -> float:
    while service.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return time.monotonic() - began
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise SystemExit(f"the service ended with {service.returncode} before it was ready")


def _ask(port: int, film: bytes) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", data=film)
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return sum(len(one["findings"]) for one in json.load(answer)["results"])


if __name__ == "__main__":
    main()
