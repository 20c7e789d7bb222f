"""The one tree of errors; `api/problems.py` maps it to HTTP and gRPC.

CxrError
├── BadRequest                 the request itself is malformed
│   ├── EmptyUpload
│   ├── NoImagePart
│   ├── SeveralImages
│   ├── UnknownOption          a query value outside its list
│   └── BadTensor              a tensor that a model does not take, or that is not what it says
├── UploadTooLarge             a limit was reached before memory was spent
├── UnsupportedUpload          a kind of file that is not read here
├── UnreadableImage            the right kind of file, but it cannot be read
├── NotReadableAsChest         the quality gate refused it, with reasons
├── ModelNotFound
├── LabelNotFound              no model asked gives a class map of this label
├── NotAcceptable              the answer is not given in the form asked for
├── NotOffered                 a part of a protocol that is not served, or switched off
├── Overloaded                 refused now, with the time to come back
├── DeadlineExceeded
├── NotReady                   before warm-up or while draining
├── BrokenPackage              a model package that cannot be trusted or run
├── EngineFailure              the network ran and failed
│   └── EngineUnavailable      what runs it elsewhere is gone, slow or wrong
├── UnusableData, UnusableRecipe, NoReference   training only, in `training/`
└── NotExportable              `cxrserve export triton` only, in `triton_export/`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class CxrError(Exception):
    """Something went wrong that we can name: `code`, what was wrong, and what to do about it.

    The detail never holds a patient's data: no file name, no DICOM text value.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str, *, advice: str = "", **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice
        self.facts: Mapping[str, Any] = facts


class BadRequest(CxrError):
    """The request is malformed."""

    code = "bad_request"


class EmptyUpload(BadRequest):
    """No bytes came."""

    code = "empty_upload"


class NoImagePart(BadRequest):
    """A multipart body without the part `image`."""

    code = "no_image_part"


class SeveralImages(BadRequest):
    """More than one image where one is answered."""

    code = "several_images"


class UnknownOption(BadRequest):
    """An option with a value that is not in its list."""

    code = "unknown_option"


class BadTensor(BadRequest):
    """A tensor that the model does not take or give, or whose bytes are not what it says."""

    code = "bad_tensor"


class UploadTooLarge(CxrError):
    """A limit on bytes, pixels or inflate ratio was passed."""

    code = "too_large"


class UnsupportedUpload(CxrError):
    """A kind of file, or a coding inside it, that is not read here."""

    code = "unsupported_media_type"


class UnreadableImage(CxrError):
    """The file is of a kind that is read here, but it is damaged or holds no image.

    `reason` is one of `truncated`, `corrupt`, `no_pixels`, `multi_frame`, `decoder_timeout`.
    """

    code = "unreadable_image"

    def __init__(self, detail: str, *, reason: str, advice: str = "", **facts: Any) -> None:
        super().__init__(detail, advice=advice, **facts)
        self.reason = reason


class NotReadableAsChest(CxrError):
    """The quality gate refused the image; `reasons` are its machine-readable codes."""

    code = "not_readable_as_chest"

    def __init__(self, detail: str, *, reasons: Sequence[str], advice: str = "", **facts: Any):
        super().__init__(detail, advice=advice, **facts)
        self.reasons = tuple(reasons)


class ModelNotFound(CxrError):
    """No loaded model has this name (or this version of it)."""

    code = "model_not_found"


class LabelNotFound(CxrError):
    """No model that was asked gives a class map of this label; `labels` are those that have one."""

    code = "label_not_found"


class NotAcceptable(CxrError):
    """The caller accepts no media type that this answer is given in."""

    code = "not_acceptable"


class NotOffered(CxrError):
    """A part of a protocol that is not served here, or is switched off."""

    code = "not_offered"


class Overloaded(CxrError):
    """Refused because the queue is full; come back in `retry_after_s` seconds."""

    code = "overloaded"

    def __init__(self, detail: str, *, retry_after_s: float, advice: str = "", **facts: Any):
        super().__init__(detail, advice=advice, **facts)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(CxrError):
    """The caller's deadline passed before an answer could be given."""

    code = "deadline_exceeded"


class NotReady(CxrError):
    """The service is starting or draining."""

    code = "not_ready"


class BrokenPackage(CxrError):
    """A model package is incomplete, altered, or breaks the graph contract."""

    code = "broken_package"


class EngineFailure(CxrError):
    """The network could not be run on this image."""

    code = "engine_failure"


class EngineUnavailable(EngineFailure):
    """What runs the network elsewhere did not answer, or not as the model's contract has it.

    `is_gone`: nobody takes requests there; `is_missing`: it does not hold this model.
    """

    code = "engine_unavailable"

    def __init__(
        self,
        detail: str,
        *,
        is_gone: bool = False,
        is_missing: bool = False,
        advice: str = "ask again in a few seconds, or another replica",
        **facts: Any,
    ):
        super().__init__(detail, advice=advice, **facts)
        self.is_gone, self.is_missing = is_gone, is_missing
