"""Ports that nobody uses now, below the range that the system gives to outgoing connections."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

PORT_MIN = 11_000
PORT_MAX = 32_000
STEP = 25
SPREAD = 7_919
"""A prime: processes with neighbouring ids begin to look at places far apart."""


def free_base_ports(count: int) -> Iterator[int]:
    """First ports of rows of ``count`` free ones; between the look and the use another process may take one."""
    places = (PORT_MAX - PORT_MIN) // STEP
    first = os.getpid() * SPREAD % places
    for number in range(places):
        base = PORT_MIN + (first + number) % places * STEP
        if all(_is_free(port) for port in range(base, base + count)):
            yield base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
