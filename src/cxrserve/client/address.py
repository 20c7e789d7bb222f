"""Where the service is."""

from __future__ import annotations

from typing import Any

import httpx

from cxrserve import __version__

READY_REQUEST: dict[str, Any] = {"method": "GET", "url": "/readyz", "timeout": 5.0}


def checked_url(url: str) -> httpx.URL:
    """The base address.

    Raises:
        ValueError: it is not one, or holds credentials. It is not quoted.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError("the address must be like http://host:3000")
    if address.userinfo:
        raise ValueError("addresses end in logs: put credentials into headers")
    return address


def origin(address: httpx.URL) -> str:
    """Scheme, host and port: what may be shown."""
    return f"{address.scheme}://{address.netloc.decode('ascii')}"


def http_options(url: httpx.URL, headers: dict[str, str] | None) -> dict[str, Any]:
    """How httpx's clients are made: as many connections as requests, and no redirects.

    A redirect could send a radiograph anywhere.
    """
    return {
        "base_url": url,
        "headers": {"User-Agent": f"cxrserve-client/{__version__}", **(headers or {})},
        "limits": httpx.Limits(max_connections=None),
        "follow_redirects": False,
    }
