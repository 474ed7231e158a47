"""What keeps a local cluster from starting, or a node from coming back.

The tree::

    DevError
    ├── FolderUnsuitable    the data folder holds something that the options would lose or contradict
    ├── PortTaken           somebody listens on a port that a node needs
    ├── AlreadyRunning      the cluster, or the node, runs already
    ├── NodeUnknown         there is no node of that name in the folder
    ├── NodesNotReady       nodes died or did not become ready in time
    └── ProvisionFailed     the project and its keys could not be made

Stopped is not an error: Ctrl-C came before the cluster was ready.
"""

from __future__ import annotations


class DevError(Exception):
    """Root: a sentence for the person at the terminal."""


class FolderUnsuitable(DevError):
    """The data folder holds something that the options would lose or contradict; nothing was changed."""


class PortTaken(DevError):
    """A port that a node needs is in use; nothing was started."""


class AlreadyRunning(DevError):
    """The cluster of this folder, or the node, runs already."""


class NodeUnknown(DevError):
    """There is no node of that name in the folder."""


class NodesNotReady(DevError):
    """Nodes died before they were ready, or took too long."""


class ProvisionFailed(DevError):
    """The project and the keys to begin with could not be made or did not reach every node."""


class Stopped(Exception):
    """The start was called off."""
