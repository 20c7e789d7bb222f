"""One Triton Inference Server, asked over gRPC, and left alone while it does not work."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cxrserve.errors import EngineFailure, EngineUnavailable
from cxrserve.triton.circuit import Circuit
from cxrserve.triton.shared_input import SharedInputs

Tensors = Mapping[str, NDArray[np.float32]]
Check = Callable[[Tensors], None]

ANSWER_LIMIT_S = 1.0
"""Whether it is ready, or how a model is set up, is said at once by a Triton that works."""

# Said of the request, not of Triton itself: the next batch may well be answered.
_OF_THE_REQUEST = ("StatusCode.INVALID_ARGUMENT", "StatusCode.INTERNAL")
# Triton's words for a model, or a version of it, that it does not hold: the status differs by call.
_MISSING = "is not found"
# Before, a cancelled request may end the whole server (its issues 7368 and 8034), and did here.
_SURVIVES_CANCELLING = (2, 58)
_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default gRPC tries a lost endpoint ever more seldom, up to every two minutes, and gives one
    # that accepts and then says nothing 20 s.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One batch of one model.

    Attributes:
        model: its name on Triton.
        version: its version there, a whole number.
        outputs: what is wanted, by name.
        level: of priority, 1 the highest; 0 for Triton's default.
        check: raises `EngineUnavailable` for what this model cannot have given, and
            `EngineFailure` for what it may give for some of the images.
    """

    model: str
    version: str
    pixels: NDArray[np.uint8]
    outputs: tuple[str, ...]
    check: Check
    level: int = 0


class Endpoint:
    """A Triton at `host:port`. Used from one event loop.

    Args:
        address: of its gRPC service.
        ca: PEM certificates that its own must come from; None: plain text.
        same_node: it shares our /dev/shm, so that pixels need not be sent.
        on_open: told when it is left alone from now on.
    """

    def __init__(
        self,
        address: str,
        *,
        ca: Path | None,
        same_node: bool,
        on_open: Callable[[Endpoint], None],
    ) -> None:
        self.address = address
        self.circuit = Circuit()
        self.refused: dict[str, str] = {}
        """Models that must not be asked here, each with the reason."""
        self.trouble = "does not answer"
        """Why it was left alone last."""
        self._on_open = on_open
        self.survives_cancelling = False
        """It is told when nobody waits for a batch any more; some Tritons crash of that."""
        # What it is asked, and those who wait for it.
        self._running: set[asyncio.Task[Tensors]] = set()
        self._waiting: set[asyncio.Task[Tensors]] = set()
        self._client = InferenceServerClient(
            address,
            ssl=ca is not None,
            root_certificates=None if ca is None else str(ca),
            channel_args=list(_CHANNEL),
        )
        self._shared = SharedInputs(self._client, ANSWER_LIMIT_S) if same_node else None

    @property
    def in_flight(self) -> int:
        """Batches that it has not answered yet."""
        return len(self._running)

    def takes(self, model: str) -> bool:
        """Whether this model may be asked here now."""
        return self.circuit.lets_through and model not in self.refused

    def start(self, call: Call, limit_s: float) -> asyncio.Task[Tensors]:
        """Ask, for at most `limit_s`; what comes of it counts for the circuit.

        The task fails with `EngineFailure` where the images may be to blame, and with
        `EngineUnavailable` where this Triton is. Cancelled, it cancels the request, if this
        Triton survives that; else what comes is dropped.
        """
        running = asyncio.ensure_future(self._counted(call, limit_s))
        self._running.add(running)
        running.add_done_callback(self._ended)
        waiting = running if self.survives_cancelling else asyncio.ensure_future(_end_of(running))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting

    async def ask(self, call: Call, limit_s: float) -> Tensors:
        """Ask, and leave the circuit as it is.

        Raises:
            EngineFailure, EngineUnavailable: as for `start`.
        """
        request_id = uuid.uuid4().hex
        pixels = InferInput("pixels", list(call.pixels.shape), "UINT8")
        with self._named_errors():
            async with self._laid_into(pixels, np.ascontiguousarray(call.pixels)):
                given = await self._client.infer(
                    call.model,
                    [pixels],
                    model_version=call.version,
                    outputs=[InferRequestedOutput(name) for name in call.outputs],
                    request_id=request_id,
                    priority=call.level,
                    timeout=max(1, round(limit_s * 1e6)),
                    client_timeout=limit_s if self.survives_cancelling else None,
                )
        if given.get_response().id != request_id:
            # Seen of Triton 2.51 after it had hung: the answer of a request before.
            raise EngineUnavailable(f"Triton at {self.address} answered another request")
        try:
            tensors = {name: given.as_numpy(name) for name in call.outputs}
        except ValueError as error:
            said = f"Triton at {self.address} gave bytes that do not fill their tensor"
            raise EngineUnavailable(said) from error
        call.check(tensors)
        return tensors

    async def is_ready(self, limit_s: float = ANSWER_LIMIT_S) -> bool:
        """Whether it says so within this time."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=limit_s))
        except InferenceServerException:
            return False

    async def learn(self) -> None:
        """Ask what it is; before it is asked for anything else, and when it has come back.

        Raises:
            EngineUnavailable: it does not answer.
        """
        with self._named_errors():
            given = await self._client.get_server_metadata(client_timeout=ANSWER_LIMIT_S)
        found = re.match(r"(\d+)\.(\d+)", given.version)
        known = (int(found[1]), int(found[2])) if found else (0, 0)
        self.survives_cancelling = known >= _SURVIVES_CANCELLING

    async def config_of(self, model: str, version: str) -> Mapping[str, Any]:
        """Triton's `ModelConfig` of a model, as JSON.

        Raises:
            EngineUnavailable: there is no such model or version, or no answer.
        """
        with self._named_errors():
            given = await self._client.get_model_config(
                model, version, as_json=True, client_timeout=ANSWER_LIMIT_S
            )
        config: Mapping[str, Any] = given["config"]
        return config

    def is_slow(self) -> None:
        """An answer takes much longer than it should."""
        self._failed()

    def probed(self, *, works: bool) -> None:
        """What a probe showed."""
        let_through = self.circuit.lets_through
        self.circuit.probed(works=works)
        self._tell_if_opened(let_through)

    async def close(self) -> None:
        """Drop what is in flight, and the connection."""
        self._drop()
        for task in tuple(self._running):
            task.cancel()
        if self._shared is not None:
            self._shared.forget()
        await self._client.close()

    async def _counted(self, call: Call, limit_s: float) -> Tensors:
        try:
            tensors = await self.ask(call, limit_s)
        except EngineFailure as error:
            self.trouble = error.detail
            if isinstance(error, EngineUnavailable):
                self._failed(surely=error.is_gone)
            elif len(call.pixels) == 1:  # of several, one image alone may be to blame
                self._failed()
            raise
        self.circuit.succeeded()
        return tensors

    def _failed(self, *, surely: bool = False) -> None:
        let_through = self.circuit.lets_through
        self.circuit.failed(surely=surely)
        self._tell_if_opened(let_through)

    def _tell_if_opened(self, let_through: bool) -> None:
        if let_through and not self.circuit.lets_through:
            self._drop()
            if self._shared is not None:
                self._shared.forget()
            self._on_open(self)

    def _drop(self) -> None:
        current = asyncio.current_task()
        for task in tuple(self._waiting):
            if task is not current:
                task.cancel()

    def _ended(self, running: asyncio.Task[Tensors]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # whoever waited may have gone

    @asynccontextmanager
    async def _laid_into(self, given: InferInput, pixels: NDArray[np.uint8]) -> AsyncIterator[None]:
        if self._shared is None:
            given.set_data_from_numpy(pixels)
            yield
        else:
            async with self._shared.holding(pixels, given):
                yield

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            status = error.status() or ""
            said = f"Triton at {self.address}: {error.message()}"
            if status in _OF_THE_REQUEST:
                raise EngineFailure(said) from error
            missing = _MISSING in (error.message() or "")
            gone = status == "StatusCode.UNAVAILABLE" and not missing
            raise EngineUnavailable(said, is_gone=gone, is_missing=missing) from error


async def _end_of(running: asyncio.Task[Tensors]) -> Tensors:
    return await asyncio.shield(running)
