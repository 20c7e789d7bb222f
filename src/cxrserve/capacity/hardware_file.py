"""What a replica runs on, what its networks take there, and what it costs: a YAML file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from cxrserve.engines.latency import LatencyTable
from cxrserve.simulation.device import Hardware

SHIPPED = Path(__file__).parent / "hardware"

# In flight on a GPU: one batch is copied while the other is computed.
_GPU_SLOTS = 2


class HardwareError(ValueError):
    """The file is missing or says something that cannot be: which field, what, and what may be."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Replica(_Part):
    """What one replica gets. `starts_s`: until a new one is asked."""

    cores: int = Field(ge=1)
    gpus: int = Field(0, ge=0, le=1, description="0: networks run on the cores")
    memory_gib: float = Field(gt=0)
    starts_s: float = Field(15.0, ge=0)


class Table(_Part):
    """Seconds of a batch by its size, as `GET /v1/models/{name}` shows under `latency`."""

    sizes: tuple[int, ...] = Field(min_length=1)
    seconds: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        self.latency()
        return self

    def latency(self) -> LatencyTable:
        """The table that the policy decides by."""
        return LatencyTable.from_dict(self.model_dump())


class Model(_Part):
    """A network here: `table` is inline, or the path of a JSON file, from this file's folder.

    `service_ms`: what a request takes of a core besides reading and network: HTTP, the quality
    gate, coding the answer.
    """

    table: Table
    service_ms: float = Field(0.0, ge=0)
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_table(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, dict) and isinstance(data.get("table"), str):
            folder: Path = (info.context or {}).get("folder", Path())
            return {**data, "table": _table_file(folder / data["table"])}
        return data


class Image(_Part):
    """A kind of upload: how large it is, and what reading it takes of a core."""

    bytes: int = Field(gt=0)
    decode_ms: float = Field(ge=0)


class Price(_Part):
    """What an hour costs, in `currency`."""

    currency: str = Field(min_length=1)
    core_hour: float = Field(0.0, ge=0)
    gib_hour: float = Field(0.0, ge=0)
    gpu_hour: float = Field(0.0, ge=0)


class Measured(_Part):
    """Where the figures come from."""

    on: date
    machine: str = Field(min_length=1)
    command: str = Field(min_length=1)


class HardwareFile(_Part):
    """All of it. Either `measured` or `assumed` says where the figures are from."""

    name: str = Field(min_length=1)
    measured: Measured | None = None
    assumed: str | None = Field(None, min_length=1)
    replica: Replica
    models: dict[str, Model] = Field(min_length=1)
    images: dict[str, Image] = Field(min_length=1)
    noise: float = Field(0.05, ge=0, le=1, description="deviation of a batch's logarithmic time")
    price: Price | None = None

    @model_validator(mode="after")
    def _says_where_from(self) -> Self:
        if (self.measured is None) == (self.assumed is None):
            raise ValueError("say either `measured` (on, machine, command) or `assumed` (why)")
        return self

    @property
    def origin(self) -> str:
        """Where the figures are from, in a line."""
        if self.measured is not None:
            return f"measured {self.measured.on} on {self.measured.machine}"
        return f"ASSUMED, never measured by us: {self.assumed}"

    def parts_ms(self, model: str, image: str) -> dict[str, float]:
        """What one image alone takes, by what it takes it for."""
        of = self.model(model)
        return {
            "network": of.table.latency().seconds(1) * 1e3,
            "decode": self.image(image).decode_ms,
            "service": of.service_ms,
        }

    def hardware(self, model: str, image: str) -> Hardware:
        """A replica for the simulator.

        Raises:
            HardwareError: there is no such model, or kind of image.
        """
        of, cores, gpu = self.model(model), self.replica.cores, self.replica.gpus > 0
        return Hardware(
            name=f"{model} on {self.name}",
            table=of.table.latency(),
            slots=_GPU_SLOTS if gpu else cores,
            independent=not gpu,
            noise=self.noise,
            host_s=(self.image(image).decode_ms + of.service_ms) / 1e3,
            host_threads=cores,
        )

    def model(self, name: str) -> Model:
        """One network's figures.

        Raises:
            HardwareError: there is none of this name.
        """
        if name not in self.models:
            raise HardwareError(f"{self.name} has no model {name}: it has {_listed(self.models)}")
        return self.models[name]

    def image(self, name: str) -> Image:
        """One kind of upload.

        Raises:
            HardwareError: there is none of this name.
        """
        if name not in self.images:
            raise HardwareError(f"{self.name} has no image {name}: it has {_listed(self.images)}")
        return self.images[name]


def read_hardware(file: str) -> HardwareFile:
    """A hardware file: its path, or the name of one that is shipped.

    Raises:
        HardwareError: it is not there, is no YAML, or says something that cannot be.
    """
    path = Path(file)
    if not path.is_file() and (SHIPPED / f"{file}.yaml").is_file():
        path = SHIPPED / f"{file}.yaml"
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise HardwareError(
            f"{file} cannot be read ({error.strerror}): name a file, or one of {shipped()}"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise HardwareError(f"{file} is no YAML: {error}") from error
    try:
        return HardwareFile.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        told = "\n".join(f"  {_where(one['loc'])}: {_what(one)}" for one in error.errors())
        raise HardwareError(f"{file} describes no hardware:\n{told}") from error


def shipped() -> str:
    """The names of the files that come with cxrserve."""
    return _listed(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def _table_file(file: Path) -> Any:
    """What is in a table's file: the table, or the answer of `GET /v1/models/{name}`."""
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the table {file} cannot be read: {error}") from error
    if isinstance(data, dict):
        data = data.get("latency", data.get("table", data))
    if not isinstance(data, dict) or not {"sizes", "seconds"} <= data.keys():
        raise ValueError(f"{file} holds no table: sizes and seconds")
    return {"sizes": data["sizes"], "seconds": data["seconds"]}


def _where(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place)) or "file"


def _what(fault: Any) -> str:
    message: str = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    return (
        message if isinstance(given, dict | list) or given is None else f"{message}, got {given!r}"
    )


def _listed(names: Any) -> str:
    return ", ".join(names)
