"""The seams of the client: how it meets the network, the disk and the clock.

Each is a small Protocol with one real implementation (``adapters``) and a fake one in the tests. The logic in between
sleeps by ``trio.sleep`` and measures by ``trio.current_time()``, so that it runs on virtual time too.

Errors of this module, translated once by the adapter that meets them::

    SdkError
    └── TransportError
        ├── Unreachable     no connection, or no answer in time
        ├── BrokenAnswer    the answer ended before it was whole, or was no HTTP
        └── AnswerTooLarge  the answer is over the bound that the caller gave
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from vexil.sdk.errors import SdkError


class TransportError(SdkError):
    """A request brought no usable answer; the message says why, without the key."""


class Unreachable(TransportError):
    """No connection, or no answer in time. ``connected``: somebody took the connection, and then said nothing."""

    def __init__(self, message: str, *, connected: bool = False) -> None:
        super().__init__(message)
        self.connected = connected


class BrokenAnswer(TransportError):
    """The answer ended before it was whole, or was no HTTP."""


class AnswerTooLarge(TransportError):
    """The answer is over the bound that the caller gave; the rest of it was not read."""


class Answer(NamedTuple):
    """A whole answer. The names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamAnswer(Protocol):
    """An answer whose body is read as it comes."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by names in lower case."""

    async def receive(self) -> bytes:
        """The next bytes of the body, some KiB at most; ``b""`` at its end. Raises TransportError."""


class Transport(Protocol):
    """HTTP GET, without redirects."""

    async def get(self, url: str, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float) -> Answer:
        """The whole answer, whatever its status. Raises TransportError."""

    def stream(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> AbstractAsyncContextManager[StreamAnswer]:
        """The answer once its headers are here, within ``timeout_s``; its body may take for ever.

        Leaving the context ends the connection. Raises TransportError.
        """

    async def aclose(self) -> None:
        """Close what is open."""


class Disk(Protocol):
    """One file that is read whole and replaced whole."""

    async def read(self) -> bytes | None:
        """Its bytes; None if there is no file. Raises OSError, also for a file over the adapter's bound."""

    async def write(self, data: bytes) -> None:
        """Replace it: afterwards it has all of ``data``, or is as it was. Durable on return. Raises OSError."""


class Clock(Protocol):
    """The wall clock. It may be wrong and it may step: it is shown and handed to rules, never waited by."""

    def now_s(self) -> float:
        """Seconds since the Unix epoch."""
