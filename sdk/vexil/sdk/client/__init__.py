"""The client: flags in memory, followed from the nodes by stream, and asked without I/O.

``client`` is what a service holds; ``reading`` the calls, which are all that is on its hot path. Behind it ``core``
ties together the logic, which runs on seams: ``following`` the nodes, ``catching_up`` with a token, ``keeping`` the
disk snapshot, all on one ``state``. ``adapters`` are the real world.
"""

from __future__ import annotations

from vexil.sdk.client.client import Client
from vexil.sdk.client.options import Options
from vexil.sdk.client.reading import NOT_READY, Context, Details, Reader, View
from vexil.sdk.client.status import Connection, Source, Status

__all__ = [
    "NOT_READY",
    "Client",
    "Connection",
    "Context",
    "Details",
    "Options",
    "Reader",
    "Source",
    "Status",
    "View",
]
