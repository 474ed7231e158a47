"""A client of ours as an offline service has it, started from a bootstrap file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.benchmarks.sdk_peers.vexil_flags import document_with
from vexil.sdk import Client

READY_S = 60.0


def client_with(size: int) -> Client:
    """A client that has a set of ``size`` flags. Raises RuntimeError if it does not get it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.json"
        file.write_text(json.dumps(document_with(size)), encoding="utf-8")
        client = Client((), "none", bootstrap_file=file, offline=True)
        if not client.wait_ready(READY_S):
            raise RuntimeError(f"the client is not ready: {client.status}")
    return client
