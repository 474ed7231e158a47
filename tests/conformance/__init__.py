"""The public conformance data of flagd and JsonLogic, run where it lies beside the checkout; none of it is copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[3] / "shared" / "conformance"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the public conformance data is not beside the checkout"
)


def load(*names: str) -> Any:
    """One JSON file of the data; None where there is none, so that modules can be imported without it."""
    path = DATA.joinpath(*names)
    return json.loads(path.read_text()) if path.is_file() else None
