"""Which split a patient belongs to, decided by the patient's identifier alone."""

from __future__ import annotations

import hashlib

from cxrserve.training.datasets import Split


def stable_split(patient: str, *, val: float, test: float = 0.0) -> Split:
    """The patient's split; it stays the same on every machine and when other films are added.

    SHA-256 of the identifier places the patient in [0, 1): the first `test` of that range are the
    test split, the next `val` the validation split. The shares are of patients and hold only on
    average.
    """
    digest = hashlib.sha256(patient.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test:
        return "test"
    return "val" if place < test + val else "train"
