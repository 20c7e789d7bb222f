from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_STAT: _ClassVar[Priority]
    PRIORITY_URGENT: _ClassVar[Priority]
    PRIORITY_ROUTINE: _ClassVar[Priority]

class Augment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUGMENT_UNSPECIFIED: _ClassVar[Augment]
    AUGMENT_MIRROR: _ClassVar[Augment]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_STAT: Priority
PRIORITY_URGENT: Priority
PRIORITY_ROUTINE: Priority
AUGMENT_UNSPECIFIED: Augment
AUGMENT_MIRROR: Augment

class Options(_message.Message):
    __slots__ = ("priority", "deadline_ms", "operating_point", "force", "augment")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    priority: Priority
    deadline_ms: float
    operating_point: str
    force: bool
    augment: Augment
    def __init__(self, priority: _Optional[_Union[Priority, str]] = ..., deadline_ms: _Optional[float] = ..., operating_point: _Optional[str] = ..., force: _Optional[bool] = ..., augment: _Optional[_Union[Augment, str]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("image", "content_type", "models", "explain", "options", "id")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    content_type: str
    models: _containers.RepeatedScalarFieldContainer[str]
    explain: bool
    options: Options
    id: str
    def __init__(self, image: _Optional[bytes] = ..., content_type: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ..., explain: _Optional[bool] = ..., options: _Optional[_Union[Options, _Mapping]] = ..., id: _Optional[str] = ...) -> None: ...

class PredictStreamResponse(_message.Message):
    __slots__ = ("id", "answer", "problem")
    ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    id: str
    answer: Answer
    problem: Problem
    def __init__(self, id: _Optional[str] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("image", "content_type", "label", "model", "picture", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    content_type: str
    label: str
    model: str
    picture: bool
    options: Options
    def __init__(self, image: _Optional[bytes] = ..., content_type: _Optional[str] = ..., label: _Optional[str] = ..., model: _Optional[str] = ..., picture: _Optional[bool] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation", "overlay_png")
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_PNG_FIELD_NUMBER: _ClassVar[int]
    explanation: Explanation
    overlay_png: bytes
    def __init__(self, explanation: _Optional[_Union[Explanation, _Mapping]] = ..., overlay_png: _Optional[bytes] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "left_out")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    left_out: _containers.RepeatedCompositeFieldContainer[PackageLeftOut]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[PackageLeftOut, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "task", "labels", "digest", "engine", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    task: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    digest: str
    engine: str
    description: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., digest: _Optional[str] = ..., engine: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class PackageLeftOut(_message.Message):
    __slots__ = ("folder", "reason")
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    folder: str
    reason: str
    def __init__(self, folder: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("grpc_code", "code", "detail", "advice", "reasons", "retry_after_s")
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    grpc_code: int
    code: str
    detail: str
    advice: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    retry_after_s: float
    def __init__(self, grpc_code: _Optional[int] = ..., code: _Optional[str] = ..., detail: _Optional[str] = ..., advice: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("id", "image", "results", "timings_ms", "notice")
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    id: str
    image: ImageSeen
    results: _containers.RepeatedCompositeFieldContainer[Result]
    timings_ms: Timings
    notice: str
    def __init__(self, id: _Optional[str] = ..., image: _Optional[_Union[ImageSeen, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ..., notice: _Optional[str] = ...) -> None: ...

class Remark(_message.Message):
    __slots__ = ("code", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ImageUids(_message.Message):
    __slots__ = ("study", "series", "sop_instance")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    SOP_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    study: str
    series: str
    sop_instance: str
    def __init__(self, study: _Optional[str] = ..., series: _Optional[str] = ..., sop_instance: _Optional[str] = ...) -> None: ...

class ImageSeen(_message.Message):
    __slots__ = ("sha256", "format", "width", "height", "view", "laterality", "spacing_mm", "age_band", "uids", "warnings", "reasons")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    LATERALITY_FIELD_NUMBER: _ClassVar[int]
    SPACING_MM_FIELD_NUMBER: _ClassVar[int]
    AGE_BAND_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    format: str
    width: int
    height: int
    view: str
    laterality: str
    spacing_mm: _containers.RepeatedScalarFieldContainer[float]
    age_band: str
    uids: ImageUids
    warnings: _containers.RepeatedCompositeFieldContainer[Remark]
    reasons: _containers.RepeatedCompositeFieldContainer[Remark]
    def __init__(self, sha256: _Optional[str] = ..., format: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., view: _Optional[str] = ..., laterality: _Optional[str] = ..., spacing_mm: _Optional[_Iterable[float]] = ..., age_band: _Optional[str] = ..., uids: _Optional[_Union[ImageUids, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Remark, _Mapping]]] = ..., reasons: _Optional[_Iterable[_Union[Remark, _Mapping]]] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("system", "value", "meaning")
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    system: str
    value: str
    meaning: str
    def __init__(self, system: _Optional[str] = ..., value: _Optional[str] = ..., meaning: _Optional[str] = ...) -> None: ...

class HeatMap(_message.Message):
    __slots__ = ("height", "width", "bias", "grid")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    bias: float
    grid: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., bias: _Optional[float] = ..., grid: _Optional[_Iterable[float]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "width", "height", "score")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    score: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ..., score: _Optional[float] = ...) -> None: ...

class Boxes(_message.Message):
    __slots__ = ("boxes",)
    BOXES_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    def __init__(self, boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("label", "probability", "threshold", "positive", "code", "boxes", "heat_map")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    HEAT_MAP_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    threshold: float
    positive: bool
    code: Code
    boxes: Boxes
    heat_map: HeatMap
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ..., threshold: _Optional[float] = ..., positive: _Optional[bool] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., boxes: _Optional[_Union[Boxes, _Mapping]] = ..., heat_map: _Optional[_Union[HeatMap, _Mapping]] = ...) -> None: ...

class ModelUsed(_message.Message):
    __slots__ = ("name", "version", "digest", "engine", "preprocessing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    digest: str
    engine: str
    preprocessing: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., engine: _Optional[str] = ..., preprocessing: _Optional[str] = ...) -> None: ...

class Rectangle(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("label", "code", "area_share", "area_cm2", "box", "mask_png")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    AREA_SHARE_FIELD_NUMBER: _ClassVar[int]
    AREA_CM2_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MASK_PNG_FIELD_NUMBER: _ClassVar[int]
    label: str
    code: Code
    area_share: float
    area_cm2: float
    box: Rectangle
    mask_png: bytes
    def __init__(self, label: _Optional[str] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., area_share: _Optional[float] = ..., area_cm2: _Optional[float] = ..., box: _Optional[_Union[Rectangle, _Mapping]] = ..., mask_png: _Optional[bytes] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("name", "value", "derived", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DERIVED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    derived: bool
    detail: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., derived: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class Segmentation(_message.Message):
    __slots__ = ("segments", "measurements")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    measurements: _containers.RepeatedCompositeFieldContainer[Measurement]
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., measurements: _Optional[_Iterable[_Union[Measurement, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("model", "operating_point", "augment", "findings", "segmentation", "boxes_within", "cautions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTATION_FIELD_NUMBER: _ClassVar[int]
    BOXES_WITHIN_FIELD_NUMBER: _ClassVar[int]
    CAUTIONS_FIELD_NUMBER: _ClassVar[int]
    model: ModelUsed
    operating_point: str
    augment: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    segmentation: Segmentation
    boxes_within: str
    cautions: _containers.RepeatedCompositeFieldContainer[Remark]
    def __init__(self, model: _Optional[_Union[ModelUsed, _Mapping]] = ..., operating_point: _Optional[str] = ..., augment: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., segmentation: _Optional[_Union[Segmentation, _Mapping]] = ..., boxes_within: _Optional[str] = ..., cautions: _Optional[_Iterable[_Union[Remark, _Mapping]]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("decode", "queue", "inference", "total")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    decode: float
    queue: float
    inference: float
    total: float
    def __init__(self, decode: _Optional[float] = ..., queue: _Optional[float] = ..., inference: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("id", "image", "model", "operating_point", "augment", "label", "probability", "threshold", "positive", "logit", "bias", "height", "width", "grid", "boxes", "boxes_within", "cautions", "timings_ms", "notice")
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    AUGMENT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    BOXES_WITHIN_FIELD_NUMBER: _ClassVar[int]
    CAUTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    id: str
    image: ImageSeen
    model: ModelUsed
    operating_point: str
    augment: str
    label: str
    probability: float
    threshold: float
    positive: bool
    logit: float
    bias: float
    height: int
    width: int
    grid: _containers.RepeatedScalarFieldContainer[float]
    boxes: Boxes
    boxes_within: str
    cautions: _containers.RepeatedCompositeFieldContainer[Remark]
    timings_ms: Timings
    notice: str
    def __init__(self, id: _Optional[str] = ..., image: _Optional[_Union[ImageSeen, _Mapping]] = ..., model: _Optional[_Union[ModelUsed, _Mapping]] = ..., operating_point: _Optional[str] = ..., augment: _Optional[str] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., threshold: _Optional[float] = ..., positive: _Optional[bool] = ..., logit: _Optional[float] = ..., bias: _Optional[float] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., grid: _Optional[_Iterable[float]] = ..., boxes: _Optional[_Union[Boxes, _Mapping]] = ..., boxes_within: _Optional[str] = ..., cautions: _Optional[_Iterable[_Union[Remark, _Mapping]]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ..., notice: _Optional[str] = ...) -> None: ...
