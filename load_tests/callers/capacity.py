"""How many films of the callers' mixture a service answers a second, when nobody has to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from cxrserve.client import AsyncClient
from load_tests.callers.films import Film
from load_tests.callers.kinds import KINDS

_WARM_UP_S = 2.0


async def capacity_of(
    host: str, films: Sequence[Film], callers: Sequence[str], *, seconds: float, clients: int = 8
) -> float:
    """Films a second in a closed loop over HTTP: each client sends when it has its answer.

    Args:
        host: address; of several, the first.
        films: what is sent, as often as the callers would send each.
        seconds: of the measurement, after two more of warming up.
        clients: at once; enough to keep every core busy.

    Raises:
        CxrError: a film was not answered.
    """
    chances = _chances(films, callers)
    rng = np.random.default_rng(0)
    start = time.perf_counter() + _WARM_UP_S
    answered = 0

    async def one_client(client: AsyncClient) -> None:
        nonlocal answered
        while time.perf_counter() < start + seconds:
            film = films[int(rng.choice(len(films), p=chances))]
            await client.predict(film.data)
            answered += start <= time.perf_counter() < start + seconds

    async with AsyncClient(host.split(",", maxsplit=1)[0]) as client, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(one_client(client))
    return answered / seconds


def _chances(films: Sequence[Film], callers: Sequence[str]) -> list[float]:
    """How likely each film is the next, as the callers choose: any of those that they send."""
    chances = [0.0] * len(films)
    for name in callers:
        own = [number for number, film in enumerate(films) if film.kind in KINDS[name].images]
        for number in own:
            chances[number] += KINDS[name].share / len(own)
    whole = sum(chances)
    return [one / whole for one in chances]
