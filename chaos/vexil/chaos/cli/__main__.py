"""``python -m vexil.chaos.cli``: the same command where the package is on the path without being installed."""

from __future__ import annotations

from vexil.chaos.cli import chaos

chaos(prog_name="vexil chaos")
