"""The films that are sent, and what each release answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrserve.client import Client
from load_tests.callers import films
from load_tests.callers.films import Expected, Film
from load_tests.callers.prepare import expected_of, prepare
from load_tests.replicas.fleet import Fleet
from load_tests.replicas.releases import MODEL

_PATIENCE_S = 60.0
_START_LIMIT_S = 120.0


class Alike(Exception):
    """Releases give a film the same answer: a mix-up could not be seen."""


def drawn(
    folder: Path,
    fleet: Fleet,
    *,
    models_dir: Path,
    versions: Sequence[str],
    side: int,
    phantoms: int,
) -> tuple[Path, dict[str, str]]:
    """Films, what the replicas answer now, and what every other release would answer.

    Args:
        folder: made.
        models_dir: holds all these versions; where there are several, a replica in the free place
            serves it for a moment.
        versions: the first of them is served now.
        side, phantoms: see `prepare`.

    Returns:
        The folder; and digest → version.

    Raises:
        Alike: see there.
        NotStarted: that replica did not become ready.
    """
    host = fleet.replicas[fleet.serving[0]].url
    prepare(folder, host=host, side=side, phantoms=phantoms)
    known = films.read(folder)
    later: list[list[Expected]] = [[] for _ in known]
    if versions[1:]:
        later = _asked_of_another(fleet, models_dir, versions[1:], known)
    answers = [[film.expected, *others] for film, others in zip(known, later, strict=True)]
    digests = _digests(answers, versions)
    films.write(
        folder,
        [
            replace(film, alternatives=tuple(others))
            for film, (_, *others) in zip(known, answers, strict=True)
        ],
    )
    return folder, digests


def _asked_of_another(
    fleet: Fleet, models_dir: Path, versions: Sequence[str], known: Sequence[Film]
) -> list[list[Expected]]:
    """What each version answers to each film, from a replica that is started for it."""
    extra = fleet.replicas[fleet.free]
    extra.models_dir = models_dir
    extra.start()
    try:
        extra.wait_until_ready(_START_LIMIT_S)
        with Client(extra.url, timeout_s=_PATIENCE_S) as client:
            return [
                [
                    expected_of(client.predict(film.data, models=(f"{MODEL}@{version}",)))
                    for version in versions
                ]
                for film in known
            ]
    finally:
        extra.terminate()
        extra.wait_until_ended(_PATIENCE_S)


def _digests(answers: Sequence[Sequence[Expected]], versions: Sequence[str]) -> dict[str, str]:
    for of_film in answers:
        told = {tuple(sorted(one.probabilities[MODEL].items())) for one in of_film}
        if len(told) < len(versions):
            raise Alike(f"{len(versions)} releases give a film {len(told)} different answers")
    digests = {
        one.digests[MODEL]: version for one, version in zip(answers[0], versions, strict=True)
    }
    if len(digests) < len(versions):
        raise Alike("two releases have the same digest")
    return digests
