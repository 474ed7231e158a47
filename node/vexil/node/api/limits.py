"""The bounds of the HTTP interface, by name. Those of what is in a request are authoring's and the SDK's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vexil.node.status import STALE_AFTER_MS

MIB: Final = 1024 * 1024

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 500
PAGE_TOKEN_CHARACTERS_MAX: Final = 4096
QUERY_FIELDS_MAX: Final = 32
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 128
TOKEN_BYTES_MAX: Final = 4096
TOKEN_WAIT_MS_DEFAULT: Final = 500
TOKEN_WAIT_MS_MAX: Final = 10_000
KEY_CHARACTERS_MAX: Final = 256
"""Longer text is no key; it is not even hashed."""
KEY_NAME_BYTES_MAX: Final = 200
CORS_MAX_AGE_S: Final = 7200
"""How long a browser may remember a preflight; browsers cap it there anyhow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """Bounds of one node's interface."""

    request_body_bytes_max: int = 2 * MIB
    import_body_bytes_max: int = 256 * MIB
    restore_body_bytes_max: int = 512 * MIB
    """A backup is deflated, and held in memory while its project is restored."""
    requests_max: int = 512
    """Requests being handled at one time; above it the answer is ``rate.limited``, before any key is looked at."""
    imports_max: int = 1
    """Imports at one time: one may hold hundreds of megabytes."""
    token_waits_max: int = 256
    """Requests that wait for their token at one time; above it they are answered at once, as from behind."""
    retry_after_s_min: int = 1
    retry_after_s_max: int = 5
    """``Retry-After`` is drawn between these: callers that were refused together must not come back together."""
    body_timeout_s: float = 60.0
    """From the headers to the last byte of the body. An import's body may take ten times as long."""
    drain_timeout_s: float = 2.0
    """How long a body over the limit is read on and thrown away, so that its sender comes to read the answer."""
    answer_timeout_s: float = 300.0
    """How long a caller may take to read an answer, or each piece of one that is streamed."""
    stale_after_ms: int = STALE_AFTER_MS
    """A region of which nothing was heard for longer is named in ``Vexil-Stale``, as it is in status."""
    documents_cached_max: int = 32
    """Compiled flagd documents that are kept, one an environment."""
    sets_cached_max: int = 32
    """Environments whose document for the SDK is kept."""
    stream_heartbeat_s: float = 15.0
    """Between two signs of life on a stream."""
    stream_piece_timeout_s: float = 30.0
    """A stream whose reader does not take a piece for so long is ended: it comes back and is told the newest state."""
    stream_retry_ms_min: int = 1_000
    stream_retry_ms_max: int = 15_000
    """How long a client should wait before it comes back is drawn between these, for each stream."""
    config_wait_ms: int = 1_000
    """How long a bulk evaluation waits for a configuration that another node has announced."""
    keys_cached_max: int = 10_000
    """Keys whose record has been read and checked once."""
