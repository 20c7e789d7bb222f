"""What becomes an image: the bentos, their Dockerfiles, and the bento running as the image runs it.

No image is built here: `tests/container/build_here` does that by hand (docs/container.md).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cxrserve.models.package import read_package
from cxrserve.page.files import STATIC
from cxrserve.page.vendor import RUNTIME_FILES
from cxrserve.settings import Settings
from tests.acceptance.bad_uploads import phantom_bytes
from tests.acceptance.conftest import ROOT, kill, start_server

_SERVING = os.environ.get("CXRSERVE_SERVING_PYTHON", sys.executable)
_NAMES = ("cxrserve", "cxrserve-gpu")
# All that a bento may hold; `*` stands for one name.
_ALLOWED = (
    "README.md",
    "bento.yaml",
    "apis/openapi.yaml",
    "apis/schema.json",
    "env/docker/Dockerfile",
    "env/docker/Dockerfile.template",
    "env/docker/entrypoint.sh",
    "env/python/install.sh",
    "env/python/requirements.txt",
    "env/python/version.txt",
    "env/python/wheels/cxrserve-*-py3-none-any.whl",
    "src/LICENSE",
    "src/README.md",
    "src/bentofile.yaml",
    "src/service.py",
    "src/models/*/MODEL_CARD.md",
    "src/models/*/metrics.json",
    "src/models/*/model*.onnx",
    "src/models/*/model.yaml",
    "src/models/*/selection.json",
    "src/models/*/*.png",
)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)$")


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


@pytest.fixture(scope="module")
def bentos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of both bentos, made of one wheel."""
    home = tmp_path_factory.mktemp("bentoml")
    environment = {**os.environ, "BENTOML_HOME": str(home)}
    build = [_SERVING, "-m", "bentoml", "build", "--bentofile", "bentofile.gpu.yaml"]
    for command in (["make", "bento"], build):
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    stores = {name: home / "bentos" / name for name in _NAMES}
    return {name: store / (store / "latest").read_text() for name, store in stores.items()}


@pytest.fixture(params=_NAMES)
def bento(request: pytest.FixtureRequest, bentos: dict[str, Path]) -> Path:
    return bentos[request.param]


@pytest.fixture
def wheel(bento: Path) -> Path:
    return _wheel(bento)


def _wheel(bento: Path) -> Path:
    (found,) = (bento / "env" / "python" / "wheels").iterdir()
    return found


def _stages(bento: Path) -> list[list[Step]]:
    """The Dockerfile's instructions, by stage; what stands before the first FROM is left out."""
    text = (bento / "env" / "docker" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stages: list[list[Step]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Step(word, " ".join(rest.split())))
    return stages


def _in_force(bento: Path) -> list[Step]:
    """What holds in the image: the first stage's instructions, and the last's, built on it."""
    base, *_, last = _stages(bento)
    assert base[0].rest.endswith("AS base-container")
    assert last[0].rest == "base-container"
    return base + last[1:]


def _of(steps: list[Step], word: str) -> list[str]:
    return [step.rest for step in steps if step.word == word]


def _variables(bento: Path) -> dict[str, str]:
    pairs = [pair for rest in _of(_in_force(bento), "ENV") for pair in rest.split()]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _pins(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    pins = [_PIN.match(line) for line in lines if not line.startswith("-r ")]
    assert all(pins), f"{file.name} holds what is not pinned"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def test_a_bento_holds_what_is_allowed_and_nothing_else(bento: Path) -> None:
    patterns = [re.compile(re.escape(one).replace(r"\*", "[^/]*")) for one in _ALLOWED]
    files = [path for path in bento.rglob("*") if not path.is_dir() or path.is_symlink()]
    names = [path.relative_to(bento).as_posix() for path in files]
    unforeseen = [
        name for name in names if not any(pattern.fullmatch(name) for pattern in patterns)
    ]
    assert unforeseen == []
    assert not any(path.is_symlink() for path in files)
    unused = [one.pattern for one in patterns if not any(one.fullmatch(name) for name in names)]
    assert unused == []


def test_the_wheel_holds_the_sources_of_this_checkout_and_the_page(wheel: Path) -> None:
    sources = ROOT / "src" / "cxrserve"
    here = {
        path.relative_to(sources.parent).as_posix(): path
        for path in sources.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as packed:
        inside = {name for name in packed.namelist() if ".dist-info/" not in name}
        # What was deleted here must be gone there: setuptools keeps a folder between builds.
        assert inside == here.keys()
        assert [name for name in inside if packed.read(name) != here[name].read_bytes()] == []


def test_the_page_can_read_on_the_users_device(wheel: Path) -> None:
    if not all((STATIC / name).is_file() for name in RUNTIME_FILES):
        pytest.skip("no ONNX Runtime Web: make page")
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    assert {f"cxrserve/page/static/{name}" for name in RUNTIME_FILES} <= inside


def test_every_model_is_there_and_unchanged(bento: Path) -> None:
    folders = sorted(path.name for path in (ROOT / "models").iterdir() if path.is_dir())
    packed = bento / "src" / "models"
    assert sorted(path.name for path in packed.iterdir()) == folders
    for name in folders:
        # Reading a package checks the digest of each of its files.
        assert read_package(packed / name).digest == read_package(ROOT / "models" / name).digest


def test_all_that_is_installed_is_pinned(bentos: dict[str, Path]) -> None:
    serving = _pins(bentos["cxrserve"] / "env" / "python" / "requirements.txt")
    assert serving == _pins(ROOT / "constraints.txt")
    assert serving.keys() == _needed(_wheel(bentos["cxrserve"]))
    gpu = _pins(bentos["cxrserve-gpu"] / "env" / "python" / "requirements.txt")
    tested = _pins(ROOT / "constraints-dev.txt") | serving
    assert gpu.keys() == _needed(_wheel(bentos["cxrserve-gpu"]), "torch")
    assert {name: pin for name, pin in gpu.items() if tested.get(name, pin) != pin} == {}


def test_torch_is_in_one_image_only(bentos: dict[str, Path]) -> None:
    cpu, gpu = (_pins(bentos[name] / "env" / "python" / "requirements.txt") for name in _NAMES)
    assert {"torch", "torchvision", "onnx2torch", "nvidia-cudnn-cu13"} <= gpu.keys() - cpu.keys()
    assert [name for name in cpu if re.match("torch|triton$|nvidia-c|cuda", name)] == []
    # Both would be the same module: whichever was installed last.
    assert "onnxruntime-gpu" not in gpu


def _needed(wheel: Path, extra: str = "") -> set[str]:
    """What a wheel needs, with what that needs, as the distributions here say."""
    found: set[tuple[str, str]] = set()
    asked = [(line, extra) for line in _requirements_of(wheel)]
    while asked:
        line, of = asked.pop()
        if line.marker and not line.marker.evaluate({"extra": of}):
            continue
        name = canonicalize_name(line.name)
        for one in {(name, ""), *((name, each) for each in line.extras)} - found:
            found.add(one)
            asked += [(Requirement(needs), one[1]) for needs in metadata.requires(name) or ()]
    return {name for name, _ in found}


def _requirements_of(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [one for one in packed.namelist() if one.endswith(".dist-info/METADATA")]
        said = message_from_bytes(packed.read(name))
    return [Requirement(line) for line in said.get_all("Requires-Dist", ())]


def test_the_image_is_built_from_a_named_base_and_the_bento_alone(bento: Path) -> None:
    text = (bento / "env" / "docker" / "Dockerfile").read_text()
    assert "ARG BASE_IMAGE=python:3.11-slim-trixie\nFROM ${BASE_IMAGE} AS base-container" in text
    assert "://" not in text
    for stage in _stages(bento):
        assert not _of(stage, "ADD")
        for ran in _of(stage, "RUN"):
            assert not re.search(r"\b(apt|apt-get|curl|wget)\b", ran)
            for installs in re.findall(r"-m pip [^&]* install [^&]*", ran):
                assert {"--no-cache-dir", "--no-deps"} <= set(installs.split())


def test_nothing_that_installs_is_left_in_the_image(bento: Path) -> None:
    *_, last = _stages(bento)
    copied = _of(last, "COPY")
    assert copied
    # Of the bento itself, which holds the wheel and the recipe, nothing is copied.
    assert all(one.startswith("--from=build ") for one in copied)
    # After all is there: what is missing, or of another version, ends the build.
    checked = max(number for number, step in enumerate(last) if step.word == "RUN")
    assert checked > max(number for number, step in enumerate(last) if step.word == "COPY")
    ran = last[checked].rest
    assert re.search(r"pip --python \S+ check && python -m pip uninstall --yes pip ", ran)


def test_nothing_is_compiled_at_each_start(bento: Path) -> None:
    _, build, last = _stages(bento)
    assert _of(build, "ENV") == ["SOURCE_DATE_EPOCH=0"]
    assert build.index(Step("ENV", "SOURCE_DATE_EPOCH=0")) < min(
        number for number, step in enumerate(build) if step.word == "RUN"
    )
    assert any("SOURCE_DATE_EPOCH=0 python -m compileall " in one for one in _of(last, "RUN"))


def test_the_image_runs_cxrserve_serve_as_the_manifests_have_it(bento: Path) -> None:
    steps = _in_force(bento)
    pod = yaml.safe_load((ROOT / "k8s" / "base" / "deployment.yaml").read_text())["spec"]
    pod = pod["template"]["spec"]
    (container,) = pod["containers"]
    (entry,), (command,) = _of(steps, "ENTRYPOINT"), _of(steps, "CMD")
    assert yaml.safe_load(entry) + yaml.safe_load(command) == container["command"]
    user, group = pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]
    # By number: a kubelet cannot tell whether a name is root's.
    assert _of(steps, "USER") == [f"{user}:{group}"]
    assert _of(steps, "WORKDIR") == [container["workingDir"]]
    assert f"COPY --from=build /build/src {container['workingDir']}" in [
        f"{step.word} {step.rest}" for step in steps
    ]
    settings = Settings()
    assert _of(steps, "EXPOSE") == [f"{settings.http_port} {settings.grpc_port}"]
    assert [port["containerPort"] for port in container["ports"]] == [
        settings.http_port,
        settings.grpc_port,
    ]


def test_the_image_writes_only_where_a_volume_may_be(bento: Path) -> None:
    variables = _variables(bento)
    assert variables["BENTOML_DO_NOT_TRACK"] == "True"
    assert variables["PATH"].startswith("/app/.venv/bin:")
    for name in ("HOME", "BENTOML_HOME"):
        assert Path(variables[name]).is_relative_to("/tmp")
    assert variables["CXRSERVE_CACHE_DIR"] == "/var/cache/cxrserve"
    # With it BentoML ends with its worker, and the container is seen to have failed.
    assert variables["BENTOML_CONTAINERIZED"]
    secrets = [name for name in variables if re.search("KEY|SECRET|TOKEN|PASSWORD", name)]
    assert secrets == []
    assert ("NVIDIA_DRIVER_CAPABILITIES" in variables) == (bento.parent.name == "cxrserve-gpu")


def test_the_image_says_what_it_is(bento: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (labels,) = _of(_in_force(bento), "LABEL")
    assert 'org.opencontainers.image.title="cxrserve"' in labels
    assert f'org.opencontainers.image.version="{project["version"]}"' in labels
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in labels


def test_both_images_are_of_one_recipe() -> None:
    cpu, gpu = (
        yaml.safe_load((ROOT / name).read_text())
        for name in ("bentofile.yaml", "bentofile.gpu.yaml")
    )
    for one in (cpu, gpu):
        del one["name"], one["python"]["requirements_txt"]
    gpu["envs"] = [one for one in gpu["envs"] if not one["name"].startswith("NVIDIA_")]
    assert cpu == gpu


def test_containerize_hands_the_builder_the_same_steps(
    bentos: dict[str, Path], tmp_path: Path
) -> None:
    """The command itself, up to where it calls a builder: in its place stands one that notes."""
    kept, builder = tmp_path / "Dockerfile", tmp_path / "buildah"
    builder.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" = --file ] && cp "$2" {kept}; shift; done\n'
    )
    builder.chmod(0o755)
    bento = bentos["cxrserve"]
    tag = f"cxrserve:{bento.name}"
    subprocess.run(
        [_SERVING, "-m", "bentoml", "containerize", "--backend", "buildah", tag],
        # BentoML takes no template from outside the folder that it is started in (its issue 5566).
        cwd="/",
        env={
            **os.environ,
            "BENTOML_HOME": str(bento.parents[2]),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        check=True,
        capture_output=True,
    )
    assert _without_remarks(kept) == _without_remarks(bento / "env" / "docker" / "Dockerfile")


def _without_remarks(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.server
def test_the_bento_runs_as_the_image_runs_it(
    bentos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own wheel, service and models, in its own folder, with the image's variables."""
    bento, site, home = bentos["cxrserve"], tmp_path / "site", tmp_path / "home"
    with zipfile.ZipFile(_wheel(bento)) as packed:
        packed.extractall(site)
    variables = _variables(bento) | {"HOME": str(home), "BENTOML_HOME": str(home / "bentoml")}
    # The environment's own `bin` and this run's latency tables stand for the image's.
    del variables["PATH"], variables["CXRSERVE_CACHE_DIR"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(site))
    asked = [_SERVING, "-c", "import cxrserve; print(cxrserve.__file__)"]
    where = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert Path(where).is_relative_to(site)
    running = start_server(tmp_path / "service.log", cwd=bento / "src")
    try:
        answer = httpx.post(f"{running.url}/v1/predict", content=phantom_bytes(".png", tmp_path))
        assert answer.status_code == 200
        assert f"from {bento / 'src' / 'models'}" in running.log.read_text()
        assert running.stop() == 0
    finally:
        kill(running)
