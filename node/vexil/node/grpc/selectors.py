"""Which flag set a flagd client asks for: one environment is one flag set.

Its id is ``flagSetId`` in the metadata of the environment's flagd part, and empty if there is none there. No selector
asks for whatever is here; ``flagSetId=<id>`` for exactly this one. Anything else (a source, another id) is refused,
for a client that was pointed at the wrong port would otherwise run on another's flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vexil.node.grpc.statuses import CallFailed, Code

HEADER: Final = "flagd-selector"
FLAG_SET_ID: Final = "flagSetId"


def check_selector(header: str | None, in_body: str, set_metadata: Mapping[str, Any]) -> None:
    """Raise CallFailed (INVALID_ARGUMENT) unless the flags here are those asked for; the header counts first."""
    selector = (header or in_body).strip()
    if not selector:
        return
    name, equals, wanted = selector.partition("=")
    if name.strip() != FLAG_SET_ID or not equals:
        raise CallFailed(
            Code.INVALID_ARGUMENT, f"the selector {selector!r} is not of the form {FLAG_SET_ID}=<id>"
        )
    own = set_metadata.get(FLAG_SET_ID, "")
    if wanted.strip() != own:
        raise CallFailed(
            Code.INVALID_ARGUMENT, f"the selector asks for flag set {wanted!r}, and here is {own!r}"
        )
