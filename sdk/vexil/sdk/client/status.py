"""What a client says about itself: whether it can answer, from what, and as of when that is.

The one idea: stale is never reported as healthy. ``stale_since`` is a moment, not a verdict, and it is there as soon
as the client cannot know any more that nothing newer exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Source = Literal["none", "bootstrap", "disk", "node"]
"""Where the flag set came from at last. ``none``: there is none, every answer is the caller's default."""
Connection = Literal["starting", "stream", "poll", "retrying", "offline", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One moment of a client. Moments are Unix seconds by this machine's clock, ``as_of`` by the node's."""

    ready: bool
    """There is a flag set to answer from, however old."""
    source: Source
    connection: Connection
    stale_since: float | None
    """From when on something may have been written that is not in the set; None: nothing that anybody knows of.

    Set while no node confirms the set, and while the node says that it has not heard of a region for too long.
    """
    stale_regions: tuple[str, ...] = ()
    """The regions of which the node has not heard for too long."""
    as_of: Mapping[str, float | None] = field(default_factory=dict)
    """By region: what was written there before that moment is in the set. None: never heard of it."""
    url: str | None = None
    """The node that confirmed it last."""
    node: str | None = None
    region: str | None = None
    """What that node calls itself."""
    version: str = ""
    token: str | None = None
    """What the set includes; None if it did not come from a node."""
    error: str | None = None
    """Why no node confirms it now."""
    snapshot_error: str | None = None
    """Why the disk snapshot or the bootstrap file was not used, or could not be written."""

    @property
    def healthy(self) -> bool:
        """Ready and not stale."""
        return self.ready and self.stale_since is None

    def differs_from(self, other: Status) -> bool:
        """Whether somebody should be told: more than the progress of moments and tokens is different."""
        return _gist(self) != _gist(other)


def _gist(status: Status) -> tuple[object, ...]:
    return (
        status.ready,
        status.source,
        status.connection,
        status.stale_since is None,
        status.stale_regions,
        status.url,
        status.node,
        status.error,
        status.snapshot_error,
    )


def moment(text: object) -> float | None:
    """Unix seconds of an RFC 3339 time; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text)
        return read.timestamp() if read.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
