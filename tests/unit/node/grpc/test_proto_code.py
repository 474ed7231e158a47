"""The message code is what ``make proto`` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vexil.node.grpc import proto

FOLDER = Path(proto.__file__).parent
TIMEOUT_S = 60


def test_the_message_code_is_that_of_its_definitions(tmp_path: Path) -> None:
    definitions = sorted(FOLDER.glob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={FOLDER.parents[3]}",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            *map(str, definitions),
        ],
        check=True,
        timeout=TIMEOUT_S,
    )
    written = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    assert len(written) == 2 * len(definitions)
    assert written == {path.name: path.read_text() for path in FOLDER.glob("*_pb2.py*")}
