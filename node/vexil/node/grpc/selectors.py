"""The selector of a call: from its metadata, or from the body of the few requests that have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vexil.node.api.selectors import HEADER, why_not
from vexil.node.grpc.statuses import CallFailed, Code

__all__ = ["HEADER", "check_selector"]


def check_selector(header: str | None, in_body: str, set_metadata: Mapping[str, Any]) -> None:
    """Raise CallFailed (INVALID_ARGUMENT) unless the flags here are those asked for; the header counts first."""
    why = why_not(header or in_body, set_metadata)
    if why is not None:
        raise CallFailed(Code.INVALID_ARGUMENT, why)
