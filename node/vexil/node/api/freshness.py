"""As of when an answer is: two headers that say it for every origin region.

``Vexil-As-Of: eu=2026-11-21T09:00:00.120Z, us=…, ap=never``: everything that was written there before that moment is in
the answer. ``Vexil-Stale: ap;us`` names the regions of which that moment lies too far back; it is absent if there are
none. Ages are measured on the node's monotonic clock; only for showing them they become times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vexil.crdt.hlc import render_time

AS_OF: Final = "Vexil-As-Of"
STALE: Final = "Vexil-Stale"


def headers(ages_ms: Mapping[str, int | None], *, wall_ms: int, stale_after_ms: int) -> dict[str, str]:
    """The headers for regions whose news is ``ages_ms`` old; None: never heard."""
    parts = [
        f"{region}=never" if age_ms is None else f"{region}={render_time(wall_ms - age_ms)}"
        for region, age_ms in sorted(ages_ms.items())
    ]
    found = {AS_OF: ", ".join(parts)} if parts else {}
    stale = stale_regions(ages_ms, stale_after_ms=stale_after_ms)
    if stale:
        found[STALE] = ";".join(stale)
    return found


def stale_regions(ages_ms: Mapping[str, int | None], *, stale_after_ms: int) -> list[str]:
    """Regions of which the news is too old, by name."""
    return sorted(r for r, age_ms in ages_ms.items() if age_ms is None or age_ms > stale_after_ms)
