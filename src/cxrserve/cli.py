"""The command `cxrserve`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cxrserve import __version__, overview, tune_command
from cxrserve.answer import NOTICE, Answer
from cxrserve.api.problems import problem_of
from cxrserve.capacity import command as capacity_command
from cxrserve.conformance.command import conformance
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.errors import CxrError
from cxrserve.models.package import read_package
from cxrserve.models.repository import ModelRepository, package_folders
from cxrserve.page import command as page_command
from cxrserve.predictor import Predictor, Question
from cxrserve.radiograph.phantom import write_phantom
from cxrserve.runtime import Runtime
from cxrserve.settings import Settings
from cxrserve.simulation import commands as simulation_commands
from cxrserve.training import commands as training_commands
from cxrserve.training.importing import commands as import_commands
from cxrserve.triton_export import command as triton_export_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=f"Chest radiographs in, findings out. {NOTICE}",
)
models_app = typer.Typer(no_args_is_help=True, help="Model packages.")
app.add_typer(models_app, name="models")
training_commands.register(app)
import_commands.register(models_app)
simulation_commands.register(app)
capacity_command.register(app)
app.command()(conformance)

_out = Console()
_err = Console(stderr=True)

# More files than these show a progress bar.
_FEW_FILES = 3
# Of BentoML: what goes before its configuration file.
_OVERRIDES = "BENTOML_CONFIG_OVERRIDES"


@app.command()
def serve() -> None:
    """Serve HTTP and gRPC; settings come from the environment, see `cxrserve config`."""
    settings = _settings()
    # BentoML would start a worker that cannot listen again and again, and never say no.
    if not _is_free(settings.host, settings.grpc_port):
        _err.print(
            f"gRPC port {settings.grpc_port} at {settings.host} cannot be listened on: "
            "end what uses it, or set CXRSERVE_GRPC_PORT"
        )
        raise typer.Exit(1)
    folder = next(
        (place for place in (Path.cwd(), _checkout()) if (place / "service.py").is_file()), None
    )
    if folder is None:
        _err.print("service.py is not here: run this in the project's folder, or serve a bento")
        raise typer.Exit(2)
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True"}
    environment.setdefault("CXRSERVE_MODELS_DIR", str(settings.models_dir.resolve()))
    _keep_one_worker(environment)
    command = [sys.executable, "-m", "bentoml", "serve", "service:CxrServe"]
    command += ["--working-dir", str(folder)]
    command += ["--host", settings.host, "--port", str(settings.http_port)]
    command += ["--timeout-graceful-shutdown", str(settings.shutdown_grace_s)]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter


def _keep_one_worker(environment: dict[str, str]) -> None:
    """Whatever BentoML is configured to: several would split the queue, and the metrics."""
    if not any(name.startswith("BENTOML_CONFIG") for name in environment):
        return
    overrides = json.loads(environment.get(_OVERRIDES) or "{}")
    overrides.setdefault("services", {}).setdefault("cxrserve", {})["workers"] = 1
    environment[_OVERRIDES] = json.dumps(overrides)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # What has just ended leaves its port waiting, which keeps nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="images")],
    model: Annotated[list[str] | None, typer.Option(help="model to ask; repeatable")] = None,
    operating_point: Annotated[str | None, typer.Option(help="set of thresholds")] = None,
    force: Annotated[bool, typer.Option(help="answer even what the gate refuses")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line an image")] = False,
) -> None:
    """Read images on this machine, without a server. Exits with 1 if one could not be answered."""
    question = Question(models=tuple(model or ()), operating_point=operating_point, force=force)
    try:
        failed = asyncio.run(_predict_all(files, question, as_json=as_json))
    except CxrError as error:
        _fail(error)
    if failed:
        raise typer.Exit(1)


async def _predict_all(files: list[Path], question: Question, *, as_json: bool) -> int:
    failed = 0
    table = Table("file", "finding", "probability", "threshold", "positive", "remarks")
    async with _predictor() as predictor:
        with Progress(console=_err, disable=len(files) <= _FEW_FILES) as progress:
            task = progress.add_task("reading", total=len(files))
            for file in files:
                try:
                    answer = await predictor.predict(
                        file.read_bytes(), question, request_id=str(uuid.uuid4())
                    )
                    _show(file, answer, table, as_json=as_json)
                except CxrError as error:
                    failed += 1
                    _show_refusal(file, error, table, as_json=as_json)
                progress.advance(task)
    if not as_json:
        _out.print(table)
        _out.print(NOTICE)
    return failed


@asynccontextmanager
async def _predictor() -> AsyncIterator[Predictor]:
    runtime = Runtime(_settings())
    await runtime.start()
    try:
        yield runtime.predictor
    finally:
        await runtime.stop()


def _show(file: Path, answer: Answer, table: Table, *, as_json: bool) -> None:
    if as_json:
        # print, not rich: a line of JSON must stay one line.
        print(json.dumps({"file": str(file), **answer.model_dump(mode="json")}))
        return
    remarks = ", ".join(remark.code for remark in (*answer.image.reasons, *answer.image.warnings))
    name = str(file)
    for result in answer.results:
        for finding in result.findings:
            table.add_row(
                name,
                f"{finding.label} ({result.model.name})",
                "untrained" if finding.probability is None else f"{finding.probability:.3f}",
                "" if finding.threshold is None else f"{finding.threshold:.3f}",
                {True: "yes", False: "no", None: ""}[finding.positive],
                remarks,
            )
            name = remarks = ""


def _show_refusal(file: Path, error: CxrError, table: Table, *, as_json: bool) -> None:
    problem = problem_of(error, str(uuid.uuid4()))
    if as_json:
        print(json.dumps({"file": str(file), "problem": problem}))
        return
    reasons = ", ".join(problem.get("reasons", [problem["code"]]))
    table.add_row(str(file), f"refused: {error.detail}", "", "", "", reasons)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="file to write: .png, .jpg or .dcm")],
    side: Annotated[int, typer.Option(min=128, max=4096, help="side in pixels")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="another seed, another phantom")] = 0,
) -> None:
    """Draw a phantom chest radiograph to try the service with; no patient is in it."""
    try:
        write_phantom(out, side=side, seed=seed)
    except ValueError as error:
        _err.print(str(error))
        raise typer.Exit(2) from None
    _out.print(f"wrote {out}")


@app.command()
def config(
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Print the settings in force, and where each came from."""
    settings = _settings()
    if as_json:
        print(settings.model_dump_json(indent=2))
        return
    table = Table("setting", "value", "from", "meaning")
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        table.add_row(name, shown, settings.origin(name), info.description or "")
    _out.print(table)


@models_app.command("list")
def list_models() -> None:
    """List the packages that would be served, and those that would not."""
    repository = ModelRepository.load(_settings().models_dir, load_onnx_cpu)
    table = Table("model", "version", "task", "labels", "digest")
    for model in repository:
        labels = ", ".join(label.name for label in model.manifest.labels)
        digest = model.package.digest.removeprefix("sha256:")[:12]
        manifest = model.manifest
        table.add_row(manifest.name, manifest.version, manifest.task, labels, digest)
    _out.print(table)
    for one in repository.left_out:
        _err.print(f"left out: {one.folder}: {one.reason}")


@models_app.command("show")
def show_model(name: str) -> None:
    """Print a package's card."""
    repository = ModelRepository.load(_settings().models_dir, load_onnx_cpu)
    try:
        model = repository.get(name)
    except CxrError as error:
        _fail(error)
    print(model.package.card())


@models_app.command("verify")
def verify_models() -> None:
    """Check every package: digests, contract of the graph. Exits with 1 if one is broken."""
    broken = 0
    for folder in package_folders(_settings().models_dir):
        try:
            package = read_package(folder)
            load_onnx_cpu(package)
            _out.print(f"ok      {package.manifest.name} {package.manifest.version}")
        except CxrError as error:
            broken += 1
            _out.print(f"broken  {folder.name}: {error.detail}")
    if broken:
        raise typer.Exit(1)


@models_app.command("table")
def models_table() -> None:
    """Print all packages as a Markdown table, timed on this machine; docs/models.md holds one."""
    for line in overview.table([read_package(f) for f in package_folders(_settings().models_dir)]):
        print(line)


@app.command()
def version() -> None:
    """Print the version."""
    _out.print(__version__)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(part) for part in fault["loc"]).upper()
            _err.print(f"CXRSERVE_{name}: {fault['msg']}, got {fault['input']!r}")
        raise typer.Exit(2) from None


def _fail(error: CxrError) -> NoReturn:
    _err.print(f"{error.detail}. {error.advice}".rstrip())
    raise typer.Exit(1)


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2]


tune_command.register(models_app, _settings)
page_command.register(app, _settings)
triton_export_command.register(training_commands.export_app, _settings)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
