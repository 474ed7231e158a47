"""Whether the ports of a plan are free, found out before anything is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from vexil.node.dev.errors import PortTaken
from vexil.node.dev.layout import HOST, NodePlan


def require_free(plans: Sequence[NodePlan]) -> None:
    """Raise PortTaken for the first port of ``plans`` that cannot be listened on."""
    for node in plans:
        for purpose, port in zip(("HTTP", "peers", "flagd"), node.ports, strict=True):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                # As the node will: a port that is only waiting out its last connections is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    why = (
                        "is in use"
                        if error.errno == errno.EADDRINUSE
                        else f"cannot be used: {error.strerror}"
                    )
                    raise PortTaken(
                        f"port {port} ({purpose} of {node.name}) {why}; nothing was started. "
                        "Choose other ports with --base-port."
                    ) from error
