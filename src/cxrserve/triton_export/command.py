"""`cxrserve export triton`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.engines.hardware import cores
from cxrserve.engines.latency import LatencyTable
from cxrserve.engines.warm_up import TableStore
from cxrserve.errors import CxrError, ModelNotFound
from cxrserve.models.package import ModelPackage
from cxrserve.models.repository import packages_listed, packages_named
from cxrserve.settings import Settings
from cxrserve.triton_export.config import Served
from cxrserve.triton_export.export import export
from cxrserve.triton_export.repository import check_folder
from cxrserve.triton_export.wanted import Backend, Wanted, slo_of

# Two batches at once on a GPU, so that one is copied while the other is computed.
_GPU_INSTANCES = 2

_out = Console()
_err = Console(stderr=True)


def register(export_app: typer.Typer, settings: Callable[[], Settings]) -> None:
    """Add `triton` to `cxrserve export`; `settings` reads what is in force, or ends the command."""

    @export_app.command("triton")
    def export_triton(  # noqa: PLR0917 - typer's options
        folder: Annotated[
            Path, typer.Argument(metavar="DIR", help="the model repository; made if not there")
        ],
        backend: Annotated[
            Backend, typer.Option(help="what runs the networks inside Triton")
        ] = Backend.PYTHON,
        model: Annotated[
            list[str] | None,
            typer.Option(help="NAME or NAME@VERSION; repeatable; default: the newest of each"),
        ] = None,
        precision: Annotated[
            str | None, typer.Option(help="graph: fp32, fp16 or int8; default: the most exact")
        ] = None,
        slo_ms: Annotated[
            str,
            typer.Option(
                help="time to answer: one, or stat,urgent,routine; "
                "default: CXRSERVE_DEFAULT_DEADLINE_MS"
            ),
        ] = "",
        table: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME=FILE",
                help="latency table (sizes, seconds) of the device that will serve; repeatable",
            ),
        ] = None,
        instances: Annotated[
            int, typer.Option(min=0, help="batches in flight; 0: a core each, two on a GPU")
        ] = 0,
        threads: Annotated[int, typer.Option(min=1, help="threads of an instance (python)")] = 1,
        fp16: Annotated[bool, typer.Option("--fp16", help="TensorRT may compute in fp16")] = False,
        engine_cache: Annotated[
            str, typer.Option(help="folder on Triton's node that keeps TensorRT's engines")
        ] = ".",
        workspace_mib: Annotated[
            int, typer.Option(min=1, help="memory TensorRT may work in, MiB")
        ] = 1024,
        force: Annotated[
            bool, typer.Option("--force", help="write beside what no export wrote")
        ] = False,
    ) -> None:
        """Write the packages as a Triton model repository. Exits with 1 if one cannot be.

        A model that an earlier export wrote is replaced whole; no other file is touched.
        """
        in_force = settings()
        try:
            wanted = Wanted(
                backend=backend,
                slo_ms=slo_of(slo_ms or str(in_force.default_deadline_ms)),
                instances=instances or _instances(backend, threads),
                threads=threads,
                precision=precision,
                fp16=fp16,
                engine_cache=engine_cache,
                workspace_mib=workspace_mib,
                queue=in_force.queue_size,
            )
            tables = dict(map(_table, table or ()))
        except ValueError as error:
            _err.print(str(error))
            raise typer.Exit(2) from None
        if not _export_all(folder, wanted, model, tables, in_force, force=force):
            raise typer.Exit(1)


def _export_all(
    folder: Path,
    wanted: Wanted,
    asked: list[str] | None,
    tables: dict[str, LatencyTable],
    settings: Settings,
    *,
    force: bool,
) -> bool:
    """Whether every model that was asked for could be written; says which could not, and why."""
    store = TableStore(settings.cache_dir)
    try:
        packages = list(_packages(asked, settings.models_dir))
        check_folder(folder, [one.manifest.name for one in packages], force=force)
    except CxrError as error:
        _complain(error)
        return False
    complete = True
    for package in packages:
        table = tables.get(package.manifest.name)
        try:
            served = export(package, folder, wanted, table=table, store=store)
        except CxrError as error:
            complete = False
            _complain(error)
        else:
            _tell(served, wanted, measured=table is not None or not wanted.backend.on_gpu)
    return complete


def _packages(asked: list[str] | None, models_dir: Path) -> Iterator[ModelPackage]:
    for wish in asked or packages_listed(models_dir):
        name, _, version = wish.partition("@")
        found = [
            one for one in packages_named(name, models_dir) if version in ("", one.manifest.version)
        ]
        if not found:
            raise ModelNotFound(f"there is no package {wish!r}", advice="`cxrserve models list`")
        yield max(found, key=_version_order)


def _version_order(package: ModelPackage) -> tuple[int, ...]:
    return tuple(int(part) for part in package.manifest.version.split("."))


def _table(named: str) -> tuple[str, LatencyTable]:
    name, equals, file = named.partition("=")
    if not equals:
        raise ValueError(f"--table takes NAME=FILE, not {named!r}")
    try:
        return name, LatencyTable.from_dict(json.loads(Path(file).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be used as a latency table: {error}") from error


def _instances(backend: Backend, threads: int) -> int:
    return _GPU_INSTANCES if backend.on_gpu else max(1, cores() // threads)


def _tell(served: Served, wanted: Wanted, *, measured: bool) -> None:
    plan = served.schedule
    preferred = ", ".join(map(str, plan.preferred)) or "none"
    _out.print(
        f"{served.name}/{served.version}: {served.graph.precision}, batches to {plan.largest}, "
        f"preferred {preferred}, delay {plan.delay_us} µs",
        soft_wrap=True,
    )
    if not measured:
        _err.print(
            f"{served.name}: not measured on a GPU; nothing waits for larger batches "
            f"(--table {served.name}=FILE)",
            soft_wrap=True,
        )
    if wanted.backend is Backend.TENSORRT:
        _err.print(f"{served.name}: run {served.name}/build.sh on the GPU node", soft_wrap=True)


def _complain(error: CxrError) -> None:
    # Advice may hold `cxrserve[torch]`, which is no markup.
    _err.print(f"{error.detail}. {error.advice}".rstrip(), markup=False, soft_wrap=True)
