"""The command ``vexil chaos``: a plug-in of the command line, found by the entry point in pyproject.toml.

The one idea: a command only reads what was typed, calls what does the work, and says what came of it.
"""

from __future__ import annotations

from vexil.chaos.cli.main import chaos

__all__ = ["chaos"]
