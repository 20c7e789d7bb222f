"""Published weights become packages; a file that would run code does not."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import densenet, densenet121, resnet50
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.engines.engine import Outputs
from cxrserve.engines.onnx_cpu import load_onnx_cpu
from cxrserve.findings.interpret import find
from cxrserve.models.codes import code_of
from cxrserve.models.package import ModelPackage, read_package
from cxrserve.radiograph.phantom import draw_phantom
from cxrserve.training.importing.errors import UnsafeWeights, UnusableWeights
from cxrserve.training.importing.networks import IMAGENET, published_classifier
from cxrserve.training.importing.restricted import Inert, StoredTensor
from cxrserve.training.importing.torchvision_checkpoint import NIH14, torchvision_names
from cxrserve.training.importing.torchxrayvision import PATHOLOGIES, RELEASES
from cxrserve.training.importing.weight_file import read_weights

run = CliRunner().invoke
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Imported:
    """A file of made-up weights, the network it was saved from, and the package made of it."""

    file: Path
    original: nn.Module
    package: ModelPackage


@pytest.fixture(scope="module", autouse=True)
def _few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def films() -> NDArray[np.uint8]:
    """uint8 `[3, 1, 224, 224]`: two phantoms and noise."""
    noise = np.random.default_rng(3).integers(0, 256, (224, 224), np.uint8)
    return np.stack([draw_phantom(side=224, seed=7), draw_phantom(side=224, seed=8), noise])[
        :, None
    ]


def xrv_scaled(films: NDArray[np.uint8]) -> torch.Tensor:
    """As torchxrayvision.utils.normalize does."""
    return torch.from_numpy((2 * (films.astype(np.float32) / 255) - 1.0) * 1024)


def imagenet_scaled(films: NDArray[np.uint8]) -> torch.Tensor:
    """As torchvision's ToTensor and Normalize do, with grey in three channels."""
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    spread = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    return (torch.from_numpy(films).float().div(255).expand(-1, 3, -1, -1) - mean) / spread


def settled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give random weights the statistics that training would: each layer's output about 0 and 1."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def xrv_module(films: NDArray[np.uint8], *, outputs: int = 18) -> nn.Module:
    """A DenseNet whose classes say that they are of `torchxrayvision.models`, as the real ones."""
    torch.manual_seed(5)
    network = densenet121(weights=None, num_classes=outputs)
    network.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    module = types.ModuleType("torchxrayvision.models")
    for part in network.modules():
        kind = type(part)
        if kind.__module__ == densenet.__name__:
            moved = vars(module).get(kind.__name__) or type(
                kind.__name__, (kind,), {"__module__": module.__name__}
            )
            setattr(module, kind.__name__, moved)
            part.__class__ = moved
    sys.modules["torchxrayvision"] = types.ModuleType("torchxrayvision")
    sys.modules[module.__name__] = module
    network.register_buffer("op_threshs", None)
    network.apply_sigmoid = False
    network.upsample = nn.Upsample(size=(224, 224), mode="bilinear", align_corners=False)
    return settled(network, xrv_scaled(films))


def forget_torchxrayvision() -> None:
    for name in ("torchxrayvision", "torchxrayvision.models"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def xrv_files(
    films: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, dict[str, Path]]:
    """One network in every format; afterwards nothing called torchxrayvision can be imported."""
    folder = tmp_path_factory.mktemp("xrv")
    network = xrv_module(films)
    files = {name: folder / name for name in ("new.pt", "old.pt", "dict.pt", "x.safetensors")}
    torch.save(network, files["new.pt"])
    torch.save(network, files["old.pt"], _use_new_zipfile_serialization=False)
    torch.save(network.state_dict(), files["dict.pt"])
    files["x.safetensors"].write_bytes(safetensors(network.state_dict()))
    forget_torchxrayvision()
    with pytest.raises(ModuleNotFoundError):
        torch.load(files["new.pt"], weights_only=False)
    return network, files


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    kinds = {torch.float32: "F32", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in state.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.fixture(scope="module")
def xrv(
    xrv_files: tuple[nn.Module, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Imported:
    """The whole saved module, imported as if it were `densenet121-res224-chex`."""
    network, files = xrv_files
    folder = tmp_path_factory.mktemp("models") / "xrv"
    source = "torchxrayvision:densenet121-res224-chex"
    arguments = ["models", "import", source, "--weights", str(files["new.pt"])]
    result = run(app, [*arguments, "--package", str(folder)])
    assert result.exit_code == 0, result.output
    return Imported(files["new.pt"], network, read_package(folder))


@pytest.fixture(scope="module")
def chexnet(films: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A checkpoint wrapped and named as CheXNet's descendants do, imported."""
    torch.manual_seed(6)
    network = densenet121(weights=None, num_classes=14)
    network = settled(network, imagenet_scaled(films))
    folder = tmp_path_factory.mktemp("chexnet")
    file = folder / "model.pth.tar"
    torch.save(as_chexnet(network), file, _use_new_zipfile_serialization=False)
    arguments = ["models", "import", "--torchvision", "densenet121", "--checkpoint", str(file)]
    result = run(app, [*arguments, "--labels", "nih14", "--package", str(folder / "package")])
    assert result.exit_code == 0, result.output
    return Imported(file, network, read_package(folder / "package"))


def as_chexnet(network: nn.Module) -> dict[str, Any]:
    state = OrderedDict()
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        for part in ("norm", "conv"):
            for number in ("1", "2"):
                name = name.replace(f".{part}{number}.", f".{part}.{number}.")  # noqa: PLW2901
        name = name.replace("classifier.", "classifier.0.")  # noqa: PLW2901
        state[f"module.densenet121.{name}"] = tensor
    best = np.float64(0.84)
    return {"epoch": 12, "state_dict": state, "best_loss": best, "optimizer": {"state": {}}}


def logits_of(network: nn.Module, images: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        return cast("NDArray[np.float32]", network(images).numpy())


def served(package: ModelPackage, films: NDArray[np.uint8]) -> Outputs:
    outputs = load_onnx_cpu(package).run(films)
    assert isinstance(outputs, Outputs)
    return outputs


def test_a_torchxrayvision_package_gives_the_originals_logits(
    xrv: Imported, films: NDArray[np.uint8]
) -> None:
    expected = logits_of(xrv.original, xrv_scaled(films))
    assert np.ptp(expected) > 0.1
    outputs = served(xrv.package, films)
    assert outputs.logits == pytest.approx(expected, abs=TOLERANCE)
    bias = xrv.original.get_parameter("classifier.bias").detach().numpy()
    assert outputs.cam.mean(axis=(2, 3)) + bias == pytest.approx(expected, abs=TOLERANCE)
    one = served(xrv.package, films[:1]).logits
    assert one == pytest.approx(expected[:1], abs=TOLERANCE)


def test_untrained_heads_are_marked_and_answered_with_null(
    xrv: Imported, films: NDArray[np.uint8]
) -> None:
    untrained = {label.name for label in xrv.package.manifest.labels if not label.trained}
    assert untrained == {
        "Infiltration", "Emphysema", "Fibrosis", "Pleural_Thickening", "Nodule", "Mass", "Hernia",
    }  # fmt: skip
    manifest = xrv.package.manifest
    assert tuple(label.name for label in manifest.labels) == PATHOLOGIES
    findings = find(manifest, served(xrv.package, films).logits[0], "published")
    assert {one.label for one in findings if one.probability is None} == untrained
    assert {one.label for one in findings if one.threshold is None} == untrained


def test_published_operating_points_decide_as_torchxrayvision_does(
    xrv: Imported, films: NDArray[np.uint8]
) -> None:
    manifest = xrv.package.manifest
    assert manifest.default_operating_point == "published"
    assert manifest.operating_points["published"]["Effusion"] == 0.27212676
    logits = served(xrv.package, films).logits
    # A network of random weights says 0.5 of everything: spread it over the thresholds.
    for shift in (-4.0, -2.0, -1.0, 0.0):
        for finding, logit in zip(
            find(manifest, logits[0] + np.float32(shift), "published"), logits[0], strict=True
        ):
            if finding.threshold is not None:
                bent = op_norm(1 / (1 + np.exp(-float(logit) - shift)), finding.threshold)
                assert finding.positive == (bent >= 0.5)


def op_norm(probability: float, threshold: float) -> float:
    """torchxrayvision.models.op_norm: bent so that the threshold lands on 0.5."""
    if probability < threshold:
        return probability / (2 * threshold)
    return 1 - (1 - probability) / (2 * (1 - threshold))


def test_a_package_says_where_it_came_from(xrv: Imported) -> None:
    manifest = xrv.package.manifest
    assert manifest.name == "xrv-densenet121-chex"
    assert manifest.input.fit == "crop"
    assert manifest.provenance.weights_sha256 == read_weights(xrv.file).sha256
    assert "CheXpert" in manifest.provenance.data
    assert manifest.graphs[0].parity is not None
    card = xrv.package.card()
    assert "Nothing was measured here" in card
    assert "Never trained, answered with null: Infiltration" in card


@pytest.mark.parametrize("kind", ["old.pt", "dict.pt", "x.safetensors"])
def test_every_format_holds_the_same_numbers(
    xrv_files: tuple[nn.Module, dict[str, Path]], kind: str
) -> None:
    network, files = xrv_files
    expected = network.state_dict()
    tensors = read_weights(files[kind]).tensors
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_chexnet_checkpoint_gives_the_originals_logits(
    chexnet: Imported, films: NDArray[np.uint8]
) -> None:
    expected = logits_of(chexnet.original, imagenet_scaled(films))
    assert np.ptp(expected) > 0.1
    assert served(chexnet.package, films).logits == pytest.approx(expected, abs=TOLERANCE)
    manifest = chexnet.package.manifest
    assert tuple(label.name for label in manifest.labels) == NIH14
    assert manifest.name == "densenet121-nih14"
    assert manifest.operating_points == {}


def test_a_resnet_checkpoint_keeps_logits_and_maps(films: NDArray[np.uint8]) -> None:
    torch.manual_seed(7)
    network = settled(resnet50(weights=None, num_classes=3), imagenet_scaled(films))
    state = {f"module.{k}".replace("fc.", "fc.1."): v for k, v in network.state_dict().items()}
    imported = published_classifier(
        "resnet50", torchvision_names(state), labels=3, scaling=IMAGENET
    )
    logits, cam = (output.numpy() for output in imported(torch.from_numpy(films)))
    assert logits == pytest.approx(logits_of(network, imagenet_scaled(films)), abs=TOLERANCE)
    bias = network.get_parameter("fc.bias").detach().numpy()
    assert cam.mean(axis=(2, 3)) + bias == pytest.approx(logits, abs=TOLERANCE)


def test_another_number_of_outputs_is_named(chexnet: Imported, tmp_path: Path) -> None:
    arguments = ["models", "import", "--torchvision", "densenet121", "--labels", "a,b"]
    package = tmp_path / "package"
    result = run(app, [*arguments, "--checkpoint", str(chexnet.file), "--package", str(package)])
    assert result.exit_code == 1
    assert "classifier.weight has shape (14, 1024), the network expects (2, 1024)" in result.output
    assert not package.exists()


def test_another_architecture_is_named(chexnet: Imported) -> None:
    state = torchvision_names(read_weights(chexnet.file).tensors)
    with pytest.raises(UnusableWeights, match=r"the file has no conv1\.weight"):
        published_classifier("resnet50", state, labels=14, scaling=IMAGENET)


def test_without_a_file_the_one_to_fetch_is_named() -> None:
    result = run(app, ["models", "import", "torchxrayvision:densenet121-res224-mimic_ch"])
    assert result.exit_code == 1
    assert "mimic_ch-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt" in result.output
    assert "--weights FILE" in result.output
    result = run(app, ["models", "import", "--torchvision", "densenet121", "--labels", "nih14"])
    assert result.exit_code == 1
    assert "--checkpoint FILE" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name either"),
        (["torchxrayvision:resnet50-res512-all"], "densenet121-res224-all"),
        (["elsewhere:weights"], "must begin with torchxrayvision:"),
        (["--torchvision", "vgg16", "--labels", "nih14"], "densenet121, resnet50"),
        (["--torchvision", "resnet50", "--checkpoint", "none.pt", "--labels", "a,a"], "differ"),
        (["--torchvision", "resnet50", "--checkpoint", "none.pt"], "--labels nih14"),
        (["--torchvision", "resnet50", "--checkpoint", "none.pt", "--labels", "a"], "none.pt"),
    ],
)
def test_what_cannot_be_imported_is_said(arguments: list[str], said: str) -> None:
    result = run(app, ["models", "import", *arguments])
    assert result.exit_code in (1, 2)
    assert said in result.output


class _Calls:
    """Pickles as a call of a function, the way an attack does."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _attacks(canary: Path) -> dict[str, Any]:
    return {
        "posix.system": _Calls(os.system, f"touch {canary}"),
        "builtins.eval": _Calls(eval, f"open({str(canary)!r}, 'w')"),
        "builtins.getattr": _Calls(getattr, nn.Module, "forward"),
        "subprocess.Popen": _Calls(subprocess.Popen, ["touch", str(canary)]),
        "torch.load": _Calls(torch.load, str(canary)),
        "torch.hub.load_state_dict_from_url": _Calls(torch.hub.load_state_dict_from_url, "x"),
    }


@pytest.mark.parametrize("form", ["new", "old"])
@pytest.mark.parametrize("attack", list(_attacks(Path())))
def test_a_malicious_pickle_is_refused_and_does_not_run(
    attack: str, form: str, tmp_path: Path
) -> None:
    canary, file = tmp_path / "canary", tmp_path / "weights.pt"
    state = {"features.conv0.weight": torch.zeros(2), "x": _attacks(canary)[attack]}
    torch.save(state, file, _use_new_zipfile_serialization=form == "new")
    with pytest.raises(UnsafeWeights) as refused:
        read_weights(file)
    assert refused.value.code == "unsafe_weights"
    # Protocol 2 has Python 2's names for modules.
    assert refused.value.facts["named"].endswith(f".{attack.rpartition('.')[2]}")
    assert not canary.exists()
    result = run(
        app,
        ["models", "import", "torchxrayvision:all", "--weights", str(file)],
    )
    assert result.exit_code == 1
    assert "nothing of it was run" in result.output


def test_a_malicious_pickle_hidden_in_the_old_header_is_refused(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps(_attacks(canary)["posix.system"], protocol=2))
    with pytest.raises(UnsafeWeights):
        read_weights(file)
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["torch._utils\n_rebuild_tensor_v2", "torch.nn\nLinear", "collections\nOrderedDict"]
)
def test_a_pickle_cannot_alter_what_reads_it(name: str, tmp_path: Path) -> None:
    """A pickle's BUILD instruction sets attributes of what is on the stack: here, of a class."""
    program = b"\x80\x02c" + name.encode() + b"\n(N}X\x06\x00\x00\x00markedK\x01stb."
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("x/data.pkl", program)
    with pytest.raises(UnusableWeights, match="damaged"):
        read_weights(tmp_path / "w.pt")
    assert not any(hasattr(kind, "marked") for kind in (StoredTensor, Inert, OrderedDict))


@pytest.mark.parametrize("form", ["new", "old"])
def test_a_cut_file_is_called_damaged(form: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.arange(1000)}, stream, _use_new_zipfile_serialization=form == "new")
    file = tmp_path / "weights.pt"
    for length in (0, 1, 20, 300, len(stream.getvalue()) // 2, len(stream.getvalue()) - 1):
        file.write_bytes(stream.getvalue()[:length])
        with pytest.raises(UnusableWeights):
            read_weights(file)
    file.write_bytes(stream.getvalue())
    assert torch.equal(read_weights(file).tensors["a"], torch.arange(1000))


def test_views_of_one_storage_are_told_apart(tmp_path: Path) -> None:
    numbers = torch.arange(12.0)
    state = {"row": numbers[4:8], "turned": numbers.reshape(3, 4).T, "empty": torch.zeros(0, 3)}
    for new in (True, False):
        torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        tensors = read_weights(tmp_path / "w.pt").tensors
        assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "w.pt")
    with pytest.raises(UnusableWeights, match="beyond"):
        read_weights(tmp_path / "w.pt")


def test_a_torchscript_file_is_declined(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(UnusableWeights, match="zip archive"):
        read_weights(tmp_path / "w.pt")


def test_the_command_line_starts_and_names_the_file_without_torch() -> None:
    program = """
import sys
for name in ("torch", "torchvision", "onnx", "onnxscript"):
    sys.modules[name] = None
from cxrserve.cli import main
sys.argv = ["cxrserve", "models", "import", "torchxrayvision:densenet121-res224-nih"]
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "fetch it and pass it with --weights FILE" in ran.stderr


def test_releases_agree_with_their_outputs() -> None:
    assert set(RELEASES) == {"all", "rsna", "nih", "pc", "chex", "mimic_nb", "mimic_ch"}
    counts = {name: sum(release.trained) for name, release in RELEASES.items()}
    assert counts == {
        "all": 18, "rsna": 2, "nih": 14, "pc": 15, "chex": 11, "mimic_nb": 11, "mimic_ch": 11,
    }  # fmt: skip
    for release in RELEASES.values():
        assert len(release.thresholds) == len(PATHOLOGIES)
        assert all(isnan(value) or 0 < value < 1 for value in release.thresholds)


def test_labels_have_sure_codes_or_none() -> None:
    for label in ("Pleural_Thickening", "Hernia", "Lung Lesion", "Fracture", "Lung Opacity"):
        assert code_of(label) is None
    infiltration = code_of("Infiltration")
    assert infiltration is not None
    assert (infiltration.system, infiltration.value) == ("DCM", "112121")
    for label in (*PATHOLOGIES, *NIH14, "normal", "Pleural Effusion", "tuberculosis"):
        code = code_of(label)
        assert code is None or code.system != "SCT" or verhoeff_holds(code.value), label
    assert not verhoeff_holds("95436003")


def verhoeff_holds(number: str) -> bool:
    """SNOMED CT's check digit (Verhoeff 1969): multiplication in the dihedral group D5."""

    def times(a: int, b: int) -> int:
        turned = (a + b if a < 5 else a - b) % 5
        return turned + 5 * ((a >= 5) != (b >= 5))

    step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place):
            value = step[value]
        check = times(check, value)
    return check == 0
