"""Every setting, from the environment (`CXRSERVE_…`), with its default and its reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cxrserve.models.rollout import Rollout
from cxrserve.radiograph.limits import MIB, Limits

ENVIRONMENT_PREFIX = "CXRSERVE_"


def _models_beside_the_service() -> Path:
    """`models/` in the working directory, else in the checkout this code lies in."""
    here = Path("models")
    checkout = Path(__file__).resolve().parents[2] / "models"
    return here if here.is_dir() or not checkout.is_dir() else checkout


class Settings(BaseSettings):
    """What is in force; `cxrserve config` prints it and says where each value came from."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    host: str = Field("0.0.0.0", description="address to listen on (IPv4 or IPv6)")  # noqa: S104
    http_port: int = Field(3000, ge=1, le=65535, description="HTTP port")
    grpc_port: int = Field(3001, ge=1, le=65535, description="gRPC port")
    models_dir: Path = Field(
        default_factory=_models_beside_the_service, description="folder of model packages"
    )
    default_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="models asked when a request names none; empty: triage, or all classifiers",
    )
    pinned: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="name@version that answers who names no version; else the newest"
    )
    canary: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="name@version=10%: answers this share of who names no version"
    )
    shadow: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="name@version=10%: asked this share as well, and only compared"
    )
    gate: Literal["on", "off"] = Field("on", description="refuse what is no readable chest film")
    processors: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        description="threads for decoding and networks together: the cores this process may use",
    )
    cache_dir: Path | None = Field(
        default_factory=lambda: Path.home() / ".cache" / "cxrserve",
        description="folder for measured latency tables and plans; off: measured at each start",
    )
    dicom_processes: int = Field(
        2, ge=1, description="DICOM files read at once, each in a process of its own"
    )
    dicom_timeout_s: float = Field(
        10.0, gt=0, description="time one DICOM file may take before its process is ended"
    )
    queue_size: int = Field(
        256, ge=1, description="requests waiting before new ones are refused with 429"
    )
    repository_control: Literal["on", "off"] = Field(
        "off", description="let clients of the Open Inference Protocol load and unload models"
    )
    shared_memory: Literal["on", "off"] = Field(
        "off", description="let clients on this node pass tensors in system shared memory"
    )
    grpc_tls_cert: Path | None = Field(
        None, description="PEM certificate chain of the gRPC server; none: plain text"
    )
    grpc_tls_key: Path | None = Field(None, description="PEM private key of grpc_tls_cert")
    grpc_tls_client_ca: Path | None = Field(
        None, description="PEM certificates that clients' ones must come from; none: any client"
    )
    grpc_max_connection_age_s: float | None = Field(
        None, gt=0, description="gRPC connections end after this, so that clients balance anew"
    )
    grpc_keepalive_s: float = Field(
        60, gt=0, description="idle gRPC connections are probed after this"
    )
    grpc_compression: Literal["off", "gzip", "deflate"] = Field(
        "off", description="how gRPC answers are compressed"
    )
    triton_endpoints: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="host:port of Tritons' gRPC services that run networks; empty: none"
    )
    triton_models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",), description="models that Triton runs; *: all. The others run here"
    )
    triton_fallback: Literal["on", "off"] = Field(
        "on", description="run Triton's models here while no Triton does"
    )
    triton_same_node: Literal["on", "off"] = Field(
        "off", description="Tritons share our /dev/shm: pixels are laid there, not sent"
    )
    triton_ca: Path | None = Field(
        None, description="PEM certificates that Tritons' ones must come from; none: plain text"
    )
    share_identical: bool = Field(
        False, description="compute identical images that are in flight once"
    )
    default_deadline_ms: float = Field(
        30_000, gt=0, description="time for an answer where the request names none"
    )
    max_upload_mb: float = Field(64, gt=0, description="size of one upload in MiB")
    max_pixels: int = Field(100_000_000, gt=0, description="declared rows times columns")
    max_decoded_mb: float = Field(192, gt=0, description="memory decoding may take, in MiB")
    jpeg_side: int = Field(
        512, ge=64, description="large JPEGs are decoded no smaller than this on the shorter side"
    )
    shutdown_delay_s: float = Field(
        0, ge=0, description="seconds after SIGTERM that are still served, no longer ready"
    )
    shutdown_grace_s: int = Field(
        30, ge=1, description="seconds that accepted requests get to finish after SIGTERM"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least serious message that is logged"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="lines for people, or one JSON object a line"
    )
    traces_endpoint: str = Field(
        "", description="http://host:4318 of an OpenTelemetry collector; empty: no traces"
    )
    traces_share: float = Field(
        0.05, ge=0, le=1, description="of questions traced, where their caller has not decided"
    )

    @model_validator(mode="after")
    def _rollout_can_be_read(self) -> Settings:
        self.rollout()
        return self

    @field_validator(
        "default_models",
        "pinned",
        "canary",
        "shadow",
        "triton_endpoints",
        "triton_models",
        mode="before",
    )
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("cache_dir", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return None if value == "off" else value

    def rollout(self) -> Rollout:
        """Which version of a model answers."""
        return Rollout.read(pinned=self.pinned, canaries=self.canary, shadows=self.shadow)

    def limits(self) -> Limits:
        """The limits of one image."""
        return Limits(
            upload_bytes=int(self.max_upload_mb * MIB),
            pixels=self.max_pixels,
            decoded_bytes=int(self.max_decoded_mb * MIB),
            jpeg_side=self.jpeg_side,
        )

    def origin(self, name: str) -> str:
        """Where a setting's value came from: its environment variable or its default."""
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        return variable if os.environ.get(variable) else "default"
