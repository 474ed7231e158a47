"""Which flag set a flagd client asks for, by whatever protocol: one environment is one flag set.

Its id is ``flagSetId`` in the metadata of the environment's flagd part, and empty if there is none there. No selector
asks for whatever is here; ``flagSetId=<id>`` for exactly this one. Anything else (a source, another id) is refused,
for a client that was pointed at the wrong place would otherwise run on another's flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

HEADER: Final = "flagd-selector"
FLAG_SET_ID: Final = "flagSetId"


def why_not(selector: str | None, set_metadata: Mapping[str, Any]) -> str | None:
    """Why the flags of the set with ``set_metadata`` are not those asked for; None if they are."""
    asked = (selector or "").strip()
    if not asked:
        return None
    name, equals, wanted = asked.partition("=")
    if name.strip() != FLAG_SET_ID or not equals:
        return f"the selector {asked!r} is not of the form {FLAG_SET_ID}=<id>"
    own = set_metadata.get(FLAG_SET_ID, "")
    if wanted.strip() != own:
        return f"the selector asks for flag set {wanted!r}, and here is {own!r}"
    return None
