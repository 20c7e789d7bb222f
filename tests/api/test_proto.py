"""The generated code is what the proto file says now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[2] / "src"


def test_the_generated_code_is_what_the_proto_file_says(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{_SOURCE}",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            f"--grpc_python_out={tmp_path}",
            "cxrserve/v1/radiology.proto",
        ],
        check=True,
    )
    made = {path.name: path.read_text() for path in (tmp_path / "cxrserve" / "v1").iterdir()}
    assert set(made) == {"radiology_pb2.py", "radiology_pb2.pyi", "radiology_pb2_grpc.py"}
    for name, text in made.items():
        assert (_SOURCE / "cxrserve" / "v1" / name).read_text() == text, f"{name}: run `make proto`"
