"""Runs the command line with fake nodes: ``python -m tests.e2e.dev.driver dev --data …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vexil.node.cli import local, main
from vexil.node.dev.restart import restart
from vexil.node.dev.supervisor import Limits, Supervisor

LIMITS = Limits(ready_s=20, provision_s=20, stop_s=1)


def command(config: Path) -> Sequence[str]:
    """How a fake node is started."""
    return [sys.executable, "-m", "tests.e2e.dev.fake_node", "--config", str(config)]


if __name__ == "__main__":
    vars(local)["Supervisor"] = partial(Supervisor, command=command, limits=LIMITS)
    vars(local)["restart"] = partial(restart, command=command)
    main()
