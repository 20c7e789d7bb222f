"""What cannot be exported."""

from __future__ import annotations

from cxrserve.errors import CxrError


class NotExportable(CxrError):
    """A package that a backend cannot take, or a folder that must not be written to."""

    code = "not_exportable"
