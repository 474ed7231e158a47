"""A `vexil dev` cluster, or one node of it, for benchmarks of whole processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.ports import free_base_ports

READY_LINES_MAX = 200
STOP_TIMEOUT_S = 30


@contextmanager
def cluster(*, regions: str, nodes: int) -> Iterator[dict[str, Any]]:
    """What `cluster.json` says of a running cluster, which is stopped in the end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from vexil.node.entry import main; main()", "dev", "--data", folder]
        command += [
            "--regions",
            regions,
            "--nodes",
            str(nodes),
            "--base-port",
            str(next(free_base_ports(40))),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert process.stdout is not None
            said = []
            for _ in range(READY_LINES_MAX):
                line = process.stdout.readline()
                said.append(line)
                if line.strip() == "ready":
                    break
                if not line:
                    raise RuntimeError(f"the cluster did not start:\n{''.join(said)}")
            yield json.loads((Path(folder) / "cluster.json").read_text(encoding="utf-8"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_TIMEOUT_S)


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
