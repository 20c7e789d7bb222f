"""What can be wrong with weights that somebody else published.

CxrError
├── ImportNotPossible   the request: an unknown name, no file, labels that cannot be
├── UnsafeWeights       the file names code that a weights file has no need of
└── UnusableWeights     damaged, of an unknown kind, or of another network
"""

from __future__ import annotations

from cxrserve.errors import CxrError


class ImportNotPossible(CxrError):
    """What was asked for cannot be imported as it was asked."""

    code = "import_not_possible"


class UnsafeWeights(CxrError):
    """The file's pickle names something beyond tensors and layers; nothing of it was run."""

    code = "unsafe_weights"


class UnusableWeights(CxrError):
    """The file is damaged, of a kind that is not read here, or holds another network."""

    code = "unusable_weights"
