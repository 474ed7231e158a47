"""Waiting for what other processes will do: conditions with a bound, never a pause of a guessed length.

The one idea: the bound is generous, because a machine may be busy; what is waited for ends the wait at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")

WITHIN_S = 45.0
"""For anything that a healthy cluster does by itself; a heal needs two digests to another region, which is 10 s."""
POLL_S = 0.05


def eventually(look: Callable[[], T], *, within_s: float = WITHIN_S) -> T:
    """The first truthy thing that ``look`` gives; its last failure when time is up.

    An AssertionError and a node that does not answer (yet) are failures; anything else is raised at once.
    """
    deadline = time.monotonic() + within_s
    while True:
        failure: AssertionError | httpx.TransportError | None = None
        seen: T | None = None
        try:
            seen = look()
        except (AssertionError, httpx.TransportError) as error:
            failure = error
        else:
            if seen:
                return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s; the last look gave {seen!r}") from failure
        time.sleep(POLL_S)
