# mypy: disable-error-code="import-untyped,import-not-found,misc,untyped-decorator"
"""Locust's file: `locust -f load_tests/callers/locustfile.py --headless --host … --films …`."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent
from locust import LoadTestShape, events

from load_tests.callers import films, users
from load_tests.callers.events import Event, Outcome
from load_tests.callers.kinds import KINDS
from load_tests.callers.plan import Plan
from load_tests.callers.shape import read_shape
from load_tests.callers.users import (  # noqa: F401 - Locust looks for classes here
    BackFillUser,
    GrpcUser,
    HospitalUser,
    OipUser,
    TelemedicineUser,
)

# A gRPC call holds a thread of gevent's pool until it is answered. Of ten, as there are by default,
# none would be left to look up an address with, and callers would wait for what is no service.
gevent.get_hub().threadpool.maxsize = 1000
# Else a gRPC call stops all greenlets until it is answered.
grpc.experimental.gevent.init_gevent()

UNSETTLED = 3
"""Exit status: a user failed, or films had no outcome when all waiting had ended."""

_SPAWN_RATE = 100.0
# What a film may take that was sent last: the longest deadline, what callers wait beyond it, and
# the pauses between.
_WAIT_S = max(max(kind.deadlines_ms.values()) for kind in KINDS.values()) / 1e3 + 30


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    ours = parser.add_argument_group("callers")
    ours.add_argument("--films", required=True, help="folder that prepare made")
    ours.add_argument("--grpc", default="", help="host:port of gRPC; several: by commas")
    ours.add_argument("--shape", default="steady", help="name of a shape, or a YAML file")
    ours.add_argument("--seconds", type=float, default=None, help="instead of the shape's")
    ours.add_argument("--rate", type=float, required=True, help="films a second at level 1")
    ours.add_argument("--callers", default=",".join(KINDS), help="kinds that take part")
    ours.add_argument("--retry-s", type=float, default=0.0, help="s in which to ask again")
    ours.add_argument("--events", default="events.jsonl", help="the event log")
    ours.add_argument("--seed", type=int, default=0)


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    said = environment.parsed_options
    callers = said.callers.split(",")
    environment.user_classes[:] = [users.USERS[name] for name in callers]
    log = Path(said.events).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - until the end

    def record(event: Event) -> None:
        log.write(event.line())
        answered = event.outcome is Outcome.ANSWERED
        environment.events.request.fire(
            request_type=event.protocol,
            name=f"{event.caller} {event.priority}",
            response_time=event.latency_ms,
            response_length=0,
            exception=None if answered else RuntimeError(f"{event.outcome}: {event.why}"),
            context={},
        )

    environment.plan = Plan(
        shape=read_shape(said.shape, seconds=said.seconds),
        rate=said.rate,
        callers=callers,
        films=films.read(Path(said.films)),
        hosts=environment.host.split(","),
        grpc=said.grpc.split(","),
        retry_s=said.retry_s,
        seed=said.seed,
        record=record,
    )
    for name, number in environment.plan.users.items():
        users.USERS[name].weight = number


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    plan: Plan = environment.plan
    plan.started = time.monotonic()
    # Locust's own ways end whichever film is in hand (SIGINT), or everything at once (SIGTERM).
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: plan.end())


@events.test_stop.add_listener
def _settle_all(environment: Any, **_: Any) -> None:
    plan: Plan = environment.plan
    plan.wait(_WAIT_S + plan.retry_s)
    if plan.unsettled or environment.runner.exceptions:
        print(f"{plan.unsettled} films were never settled", file=sys.stderr)
        environment.process_exit_code = UNSETTLED
    else:
        # Whether failures matter is for the thresholds to say, not for Locust.
        environment.process_exit_code = 0


class Levels(LoadTestShape):
    """As many users as the shape says."""

    def tick(self) -> tuple[int, float] | None:
        """See Locust; called every second."""
        assert self.runner is not None
        plan: Plan = self.runner.environment.plan
        at_s = self.get_run_time()
        if plan.is_over or at_s >= plan.shape.seconds:
            return None
        return plan.users_at(at_s), _SPAWN_RATE
