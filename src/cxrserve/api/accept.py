"""Which of the media types on offer a caller wants (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from cxrserve.errors import NotAcceptable


def chosen_type(accept: str | None, offered: Sequence[str]) -> str:
    """The offered type with the highest quality; the first of equals; the first without a header.

    Raises:
        NotAcceptable: none of them is accepted.
    """
    ranges = [part for part in (accept or "*/*").split(",") if part.strip()] or ["*/*"]
    qualities = [_quality(kind, ranges) for kind in offered]
    if max(qualities) <= 0:
        raise NotAcceptable(
            "the answer is not given in a media type that the Accept header names",
            advice=f"accept one of: {', '.join(offered)}",
            offered=list(offered),
        )
    return offered[qualities.index(max(qualities))]


def _quality(kind: str, ranges: Sequence[str]) -> float:
    """The quality of the most special range that covers `kind`; 0 if none does."""
    special, quality = -1, 0.0
    for one in ranges:
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        covers = ("*/*", f"{kind.partition('/')[0]}/*", kind)
        if name in covers and covers.index(name) > special:
            special, quality = covers.index(name), _stated_quality(parameters)
    return quality


def _stated_quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0
