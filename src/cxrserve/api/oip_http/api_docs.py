"""How OpenAPI shows the protocol's requests."""

from __future__ import annotations

from typing import Any

ERROR: dict[str, Any] = {
    "description": "What was wrong",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            }
        }
    },
}
"""Any error of the protocol's paths."""

_NAME = {"type": "string", "maxLength": 256}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["boolean", "number", "string"]}}

INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "An inference request in JSON; with `Inference-Header-Content-Length`, JSON of so many "
            "bytes and behind it the tensors. Inputs: `pixels` (UINT8 `[N, 1, side, side]`) or "
            "`image` (BYTES `[N, 1]`: files, which JSON cannot carry)."
        ),
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": _NAME,
                        "parameters": _PARAMETERS,
                        "inputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape"],
                                "properties": {
                                    "name": _NAME,
                                    "datatype": _NAME,
                                    "shape": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 0},
                                    },
                                    "parameters": _PARAMETERS,
                                    "data": {"type": "array"},
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": _NAME, "parameters": _PARAMETERS},
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

INFER_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "An inference response in JSON; with `Inference-Header-Content-Length`, JSON of so "
            "many bytes and behind it the tensors that were asked for as binary."
        ),
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["outputs"]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
