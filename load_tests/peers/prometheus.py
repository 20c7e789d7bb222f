"""A real Prometheus with the rules of `k8s/monitoring`, in which time may go faster.

Debian's program, unpacked by `.ci/debian-binaries prometheus`; it listens on loopback only.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from load_tests.peers import debian

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
# Those that record first: alerts ask for what they write.
_RULES = ("recording-rules.yaml", "alerts.yaml")
_START_LIMIT_S = 20.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+)([smhdw])")
_IN_A_QUERY = re.compile(r"(?:(?<=\[)|(?<=\boffset ))\d+[smhdw]\b")


def rules() -> list[dict[str, Any]]:
    """The groups of rules: the `spec` of the manifests, which are their only source."""
    manifests = (yaml.safe_load((MONITORING / file).read_text("utf-8")) for file in _RULES)
    return [group for manifest in manifests for group in manifest["spec"]["groups"]]


def faster(groups: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
    """The same rules where time goes faster: each duration, but no threshold, is divided.

    Durations are the windows and offsets in expressions, `for` and `interval`. With 60 a minute
    becomes a second: of a window of 5 m and one of 1 h, one of 5 s and one of a minute. What an
    expression multiplies by a number of seconds, to count what a rate stands for, stays as it is:
    such counts come out too large.
    """
    return [_faster_group(group, times) for group in groups]


def faster_query(query: str, times: int) -> str:
    """The same query where time goes faster."""
    return _IN_A_QUERY.sub(lambda found: _faster(found.group(), times), query)


def _faster_group(group: dict[str, Any], times: int) -> dict[str, Any]:
    scaled = [rule | {"expr": faster_query(rule["expr"], times)} for rule in group["rules"]]
    for rule in scaled:
        if "for" in rule:
            rule["for"] = _faster(rule["for"], times)
    interval = {"interval": _faster(group["interval"], times)} if "interval" in group else {}
    return group | {"rules": scaled} | interval


def _faster(duration: str, times: int) -> str:
    found = _DURATION.fullmatch(duration)
    assert found is not None, duration
    return f"{int(found[1]) * _SECONDS[found[2]] * 1000 // times}ms"


class Prometheus:
    """One that runs; asked over its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=30)

    def has_scraped(self, targets: int) -> bool:
        """It answers, and knows so many targets; it takes 5 s until it begins with the first."""
        try:
            ready = self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
        return ready and len(self.query("up == 1")) == targets

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now: each series' labels and value."""
        return list(self._get("query", query=expression)["result"])

    def query_range(
        self, expression: str, *, seconds: float, step_s: float = 1.0
    ) -> list[dict[str, Any]]:
        """What it gave in the last seconds, as a panel asks."""
        now = time.time()
        span = {"start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": f"{step_s}"}
        return list(self._get("query_range", query=expression, **span)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or fire."""
        return list(self._get("alerts")["alerts"])

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire: name, and the long window of those that have one."""
        return {
            (one["labels"]["alertname"], one["labels"].get("long", ""))
            for one in self.alerts()
            if one["state"] == "firing"
        }

    def rules(self) -> list[dict[str, Any]]:
        """Each rule with its health and its last error."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, with its health and its last error."""
        return list(self._get("targets")["activeTargets"])

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _get(self, what: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{what}", params=parameters)
        told = answer.json()
        if told["status"] != "success":
            raise ValueError(f"{told['error']}: {parameters}")
        return told["data"]


@contextmanager
def running_prometheus(
    scratch: Path, targets: Mapping[str, str], *, times: int, scrape_s: float = 0.5
) -> Iterator[Prometheus]:
    """Start one with our rules; it is stopped at the end.

    Args:
        scratch: an empty folder for its configuration, data and log.
        targets: `host:port` by the pod's name, all in the namespace and the job `cxrserve`.
        times: how many times as fast as in a cluster time goes for its rules.
        scrape_s: each of so many seconds it scrapes.

    Raises:
        FileNotFoundError: there is no Prometheus here.
        RuntimeError: it did not become ready, or did not reach its targets; the message ends with
            its log.
    """
    program = debian.program("prometheus")
    if program is None:
        raise FileNotFoundError(debian.not_here("prometheus"))
    port = _free_port()
    (scratch / "rules.yaml").write_text(yaml.safe_dump({"groups": faster(rules(), times)}))
    configuration = _configuration(targets, scrape_s, times)
    (scratch / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    command = [
        program,
        f"--config.file={scratch / 'prometheus.yaml'}",
        f"--storage.tsdb.path={scratch / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        # For how long a value stands for itself: 5 m, as everything else.
        f"--query.lookback-delta={_faster('5m', times)}",
    ]
    log = scratch / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        give_up_at = time.monotonic() + _START_LIMIT_S
        while not prometheus.has_scraped(len(targets)):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"Prometheus is not ready:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield prometheus
    finally:
        prometheus.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _configuration(targets: Mapping[str, str], scrape_s: float, times: int) -> dict[str, Any]:
    milliseconds = f"{scrape_s * 1000:.0f}ms"
    jobs = [
        {"targets": [address], "labels": {"namespace": "cxrserve", "pod": pod}}
        for pod, address in targets.items()
    ]
    return {
        "global": {
            "scrape_interval": milliseconds,
            "scrape_timeout": milliseconds,
            # What the operator sets where nobody says otherwise.
            "evaluation_interval": _faster("30s", times),
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "cxrserve", "static_configs": jobs}],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
