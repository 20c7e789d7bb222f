"""`cxrserve conformance`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import grpc
import httpx
import typer
from rich.console import Console
from rich.progress import Progress

from cxrserve.conformance.grpc_server import GrpcServer
from cxrserve.conformance.http_server import HttpServer
from cxrserve.conformance.model import Options
from cxrserve.conformance.over_grpc import CHECKS as GRPC_CHECKS
from cxrserve.conformance.over_http import CHECKS as HTTP_CHECKS
from cxrserve.conformance.report import as_json, show
from cxrserve.conformance.suite import Outcome, run_checks
from cxrserve.conformance.verdicts import Verdict

_out = Console()
_err = Console(stderr=True)
# gRPC's own limit of 4 MB is less than a batch of radiographs.
_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def conformance(
    url: Annotated[str, typer.Argument(help="server, without /v2: http://localhost:8000")],
    *,
    grpc_address: Annotated[
        str | None, typer.Option("--grpc", metavar="HOST:PORT", help="ask this as well")
    ] = None,
    model: Annotated[str, typer.Option(help="model to ask")] = "simple",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="input to send; repeatable; default: all that are required"),
    ] = None,
    bytes_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="what a BYTES element holds; default: 0"),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="may unload and load the model, write settings")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="a difference counts as a failure")
    ] = False,
    every_check: Annotated[bool, typer.Option("--all", help="name every check")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the outcomes there as well")
    ] = None,
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME:VALUE", help="send with each request; repeatable"),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="patience with each request")] = 30.0,
) -> None:
    """Ask a server whether it speaks the Open Inference Protocol v2. Exits with 1 if not."""
    options = Options(
        model=model,
        inputs=tuple(inputs or ()),
        payload=None if bytes_file is None else bytes_file.read_bytes(),
        control=control,
        timeout_s=timeout_s,
        headers=tuple(_header(text) for text in headers or ()),
    )
    url = url if "://" in url else f"http://{url}"
    outcomes = list(_ask(url, grpc_address, options))
    if json_file is not None:
        json_file.write_text(as_json(outcomes, target=url, model=model), encoding="utf-8")
    show(outcomes, _out, every_check=every_check)
    broken = {Verdict.FAILED, Verdict.DIFFERS} if strict else {Verdict.FAILED}
    if any(outcome.verdict in broken for outcome in outcomes):
        raise typer.Exit(1)


def ask_http(url: str, options: Options) -> Iterator[Outcome]:
    """Run the checks over HTTP.

    Raises:
        httpx.TransportError: nobody listens at `url`.
    """
    with httpx.Client(
        base_url=url, timeout=options.timeout_s, headers=list(options.headers)
    ) as client:
        client.get("v2/health/live")
        server = HttpServer(client, options)
        yield from run_checks(HTTP_CHECKS, server, protocol="HTTP", extensions=server.extensions)


def ask_grpc(address: str, options: Options) -> Iterator[Outcome]:
    """Run the checks over gRPC.

    Raises:
        grpc.FutureTimeoutError: nobody listens at `address`.
    """
    with grpc.insecure_channel(address, options=_ANY_SIZE) as channel:
        grpc.channel_ready_future(channel).result(timeout=options.timeout_s)
        server = GrpcServer(channel, options)
        yield from run_checks(GRPC_CHECKS, server, protocol="gRPC", extensions=server.extensions)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not NAME:VALUE")
    return name.strip(), value.strip()


def _ask(url: str, address: str | None, options: Options) -> Iterator[Outcome]:
    total = len(list(HTTP_CHECKS)) + (len(list(GRPC_CHECKS)) if address else 0)
    with Progress(console=_err, transient=True) as progress:
        task = progress.add_task("asking", total=total)
        try:
            for outcome in ask_http(url, options):
                progress.advance(task)
                yield outcome
            for outcome in ask_grpc(address, options) if address else ():
                progress.advance(task)
                yield outcome
        except httpx.TransportError as error:
            _err.print(f"nobody answers at {url}: {error}")
            raise typer.Exit(2) from None
        except grpc.FutureTimeoutError:
            _err.print(f"nobody answers gRPC at {address}")
            raise typer.Exit(2) from None
