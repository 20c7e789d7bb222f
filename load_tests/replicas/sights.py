"""What is written down while replicas are played with: what was done, and what they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Mark:
    """Something was done to a replica, at a time in s since 1970."""

    at: float
    replica: str
    what: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What a replica was from a time on: absent, starting, serving, draining (no endpoint any
    more), leaving (after SIGTERM), down (for HAProxy's checks) or frozen."""

    at: float
    replica: str
    state: str


@contextmanager
def watched(look: Callable[[], Mapping[str, str]], sights: list[Sight]) -> Iterator[None]:
    """Write down what each replica is, whenever that changes, while the context lasts.

    Args:
        look: replica → what it is now.
        sights: what is seen is put behind what it holds.
    """
    over = threading.Event()

    def watch() -> None:
        last: dict[str, str] = {}
        while not over.wait(_LOOK_EVERY_S):
            with suppress(OSError):
                states, at = look(), time.time()
                sights.extend(
                    Sight(at, name, state)
                    for name, state in states.items()
                    if last.get(name) != state
                )
                last.update(states)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
