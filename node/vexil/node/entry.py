"""The console script ``vexil``: loads the command line, or says which extra is missing.

The base install is the SDK alone, yet its wheel carries the script. So this module imports no third-party package
when it is loaded, and turns one kind of failure into a sentence: a third-party module that is not installed. A
module of ours that cannot be found is a bug, and keeps its traceback.
"""

from __future__ import annotations

import importlib
import sys

EXIT_EXTRA_MISSING = 1

# The extra that brings everything the command line itself imports; what a plug-in needs, `cli.plugins` says.
_EXTRA = "node"


def main() -> int | None:
    """Run the command line; its exit code, or None for success.

    Commands may load their modules late, so the run itself is covered too, not only the import.
    """
    try:
        run = importlib.import_module("vexil.node.cli").main
        status: int | None = run()
    except ModuleNotFoundError as error:
        if not is_third_party(error.name):
            raise
        sys.stderr.write(
            f'vexil: the command line needs the extra "{_EXTRA}": '
            f"pip install 'vexil[{_EXTRA}]' (missing module: {error.name})\n"
        )
        return EXIT_EXTRA_MISSING
    return status


def is_third_party(module: str | None) -> bool:
    """Whether a missing module is neither ours nor of the standard library (an unnamed one may be ours)."""
    if not module:
        return False
    top = module.partition(".")[0]
    return top != "vexil" and top not in sys.stdlib_module_names
