"""``python -m vexil.node --config node.toml``: one node, in this process."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vexil.node.adapters.process import main


def _arguments() -> Path:
    parser = argparse.ArgumentParser(prog="python -m vexil.node", description="Run one Vexil node.")
    parser.add_argument("--config", type=Path, required=True, help="its node.toml")
    config: Path = parser.parse_args().config
    return config


if __name__ == "__main__":
    sys.exit(main(_arguments(), os.environ))
