"""The bounds and times of a client, by name.

The one idea: everything that could go on without end has its bound here, with a default that a service need not
touch. Times that many clients would share (retries, polls) are jittered where they are used.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, fields
from math import isfinite
from typing import Final

from vexil.sdk.errors import ClientMisconfigured

NODES_MAX: Final = 100
"""URLs that one client is given."""
CATCH_UPS_MAX: Final = 256
"""Callers that wait for a token at one time; one more is told at once that it was not reached."""
CATCH_UPS_AT_ONCE_MAX: Final = 4
"""Requests that are sent for them at one time."""
CALLBACKS_MAX: Final = 1000
"""Callbacks of one kind."""
TOKEN_CHARACTERS_MAX: Final = 4096
WAIT_MS_MAX: Final = 10_000
"""What a node may be asked to wait for a token."""
ERROR_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is seldom changed. Raises ClientMisconfigured if a number is not a positive one."""

    stream: bool = True
    """False: only poll."""
    tls: ssl.SSLContext | None = None
    """Checks the nodes' certificates; None: the system's authorities."""
    proxy_from_environment: bool = True
    """Whether ``HTTPS_PROXY`` and its like count."""

    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    """For the headers of a stream, and for a whole answer of another kind."""
    silence_s: float = 30.0
    """A stream that brings nothing for so long is given up: two heartbeats."""
    event_timeout_s: float = 120.0
    """A stream that brings bytes, but no whole event for so long, is given up too."""
    steady_s: float = 30.0
    """A stream that lived so long was a good one: its end is no failure."""
    stream_retry_s: float = 300.0
    """While polling because streams cannot be had: how long until the next try of one."""
    return_after_s: float = 300.0
    """While on a node that is not the first: how long until the ones before it are looked at."""

    back_off_base_s: float = 1.0
    back_off_max_s: float = 60.0
    back_off_floor_s: float = 0.05
    """Between two tries of one node: uniform in (0, base · 2ⁿ), at least the floor, at most the maximum."""
    behind_back_off_max_s: float = 5.0
    """The same of a node that is only behind: that heals soon."""
    retry_after_max_s: float = 300.0
    """What a node may ask for with ``Retry-After``."""

    set_bytes_max: int = 128 * 1024 * 1024
    """One flag set, as an answer, an event or a file."""
    snapshot_every_s: float = 60.0
    """The disk snapshot is written at most so often."""
    snapshot_refresh_s: float = 900.0
    """And at least so often while a node confirms it: its age is what a cold start reports."""
    disk_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                positive(field.name, value)


def positive(name: str, value: object) -> float:
    """``value``, which is a finite positive number. Raises ClientMisconfigured."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value > 0:
        return value
    raise ClientMisconfigured(f"{name} must be a positive number, not {value!r}")
