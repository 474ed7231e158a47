"""The command line ``vexil``: one group of commands a file, all of them over the HTTP interface of a node.

The one idea: the command line knows nothing that any other HTTP client could not know. It has no way into a node's
files, so what it can do is what its key may do.
"""

from __future__ import annotations

from vexil.node.cli.main import main, root

__all__ = ["main", "root"]
