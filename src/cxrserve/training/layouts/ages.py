"""Ages as the data sets write them: `58`, `058Y`, `45yrs`, `16month`, `64days`."""

from __future__ import annotations

import re

OLDEST_YEARS = 120  # ChestX-ray14 has ages up to 414 years: typing errors

_AGE = re.compile(r"\s*(\d+)\s*([ymd]?)[a-z]*\s*", re.IGNORECASE)
_UNITS_A_YEAR = {"": 1.0, "y": 1.0, "m": 12.0, "d": 365.25}


def age_years(text: str) -> float | None:
    """The age in years; a bare number is years. None where it is not readable or impossible."""
    found = _AGE.fullmatch(text)
    if not found:
        return None
    age = int(found[1]) / _UNITS_A_YEAR[found[2].lower()]
    return age if age <= OLDEST_YEARS else None
