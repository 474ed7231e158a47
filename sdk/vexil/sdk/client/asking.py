"""One question to one node: what is sent, and what its answer means.

The one idea: every way in which a node can fail becomes one ``NodeFailed``, which says what to do next: how long the
node asks to be left alone, whether polling is worth trying where a stream is not to be had, whether it is only
behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from vexil.sdk.client.messages import Nonsense, Told, json_object, told_by_headers, whole_set
from vexil.sdk.client.options import Options
from vexil.sdk.client.seams import AnswerTooLarge, StreamAnswer, Transport, TransportError, Unreachable
from vexil.sdk.client.tokens import is_sendable
from vexil.sdk.model import FlagSet

FLAGS_PATH: Final = "/sdk/v1/flags"
STREAM_PATH: Final = "/sdk/v1/stream"
_EVENT_STREAM: Final = "text/event-stream"
_SECONDS_DIGITS_MAX: Final = 9


class NodeFailed(Exception):
    """This node is of no use now. Internal: it ends where the next node is chosen."""

    def __init__(
        self,
        reason: str,
        *,
        retry_after_s: float = 0.0,
        poll: bool = False,
        behind: bool = False,
        for_good: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.poll = poll
        """The node is there, only its stream is not: a poll may do."""
        self.behind = behind
        self.for_good = for_good
        """The request itself is refused: no node will answer it better."""


class Fetched(NamedTuple):
    """The answer to a poll. ``flag_set`` is None if the version that was named is still the node's."""

    flag_set: FlagSet | None
    token: str | None
    told: Told


class Asking:
    """Asks nodes with one key."""

    def __init__(self, *, key: str, transport: Transport, options: Options) -> None:
        self._key = key
        self._transport = transport
        self._options = options

    async def flags(
        self, url: str, *, token: str | None, version: str | None = None, wait_ms: int | None = None
    ) -> Fetched:
        """The whole set of the node at ``url``, which includes ``token``. Raises NodeFailed.

        ``version``: not needed again. ``wait_ms``: how long the node may wait until it has ``token``.
        """
        options = self._options
        headers = self._headers("application/json", token, version)
        if wait_ms is not None:
            headers["Vexil-Wait-Ms"] = str(wait_ms)
        timeout_s = options.answer_timeout_s + (wait_ms or 0) / 1000
        try:
            answer = await self._transport.get(
                url + FLAGS_PATH, headers, bytes_max=options.set_bytes_max, timeout_s=timeout_s
            )
        except TransportError as error:
            raise NodeFailed(str(error)) from error
        if answer.status == 304 and "If-None-Match" in headers:
            _refuse_behind(answer.headers)
            return Fetched(None, answer.headers.get("vexil-token"), told_by_headers(answer.headers))
        if answer.status != 200:
            raise self._refusal(answer.status, answer.headers, answer.body)
        _refuse_behind(answer.headers)
        try:
            flag_set = whole_set(json_object(answer.body))
        except Nonsense as error:
            raise NodeFailed(f"the node's answer is {error}") from error
        return Fetched(flag_set, answer.headers.get("vexil-token"), told_by_headers(answer.headers))

    @asynccontextmanager
    async def stream(
        self, url: str, *, token: str | None, version: str | None
    ) -> AsyncIterator[StreamAnswer]:
        """The open stream of the node at ``url``, which is not behind ``token``. Raises NodeFailed.

        ``version``: what is here already, as far as the node still knows the way from there.
        """
        headers = self._headers(_EVENT_STREAM, token, version)
        if token:
            headers["Last-Event-ID"] = token
        timeout_s = self._options.answer_timeout_s
        try:
            async with self._transport.stream(url + STREAM_PATH, headers, timeout_s=timeout_s) as answer:
                if answer.status != 200:
                    raise self._refusal(answer.status, answer.headers, b"", stream=True)
                if not answer.headers.get("content-type", "").lower().startswith(_EVENT_STREAM):
                    raise NodeFailed("what answers there gives no event stream", poll=True)
                _refuse_behind(answer.headers)
                yield answer
        except Unreachable as error:
            raise NodeFailed(str(error), poll=error.connected) from error
        except AnswerTooLarge as error:
            raise NodeFailed(str(error)) from error
        except TransportError as error:
            raise NodeFailed(str(error), poll=True) from error

    def _headers(self, accept: str, token: str | None, version: str | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": accept, "Accept-Encoding": "identity"}
        if token:
            headers["Vexil-Token"] = token
        if is_sendable(version):  # a node may have called it anything
            headers["If-None-Match"] = f'"{version}"'
        return headers

    def _refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, *, stream: bool = False
    ) -> NodeFailed:
        what = f"the node answers {status}"
        if status in {401, 403}:
            what = f"the key is refused ({status})"
        try:
            code = json_object(body).get("code")
        except Nonsense:
            code = None
        if isinstance(code, str):
            what += f", {code}"
        retry_after = headers.get("retry-after", "")
        asked_s = 0.0
        if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= _SECONDS_DIGITS_MAX:
            asked_s = min(float(retry_after), self._options.retry_after_max_s)
        return NodeFailed(
            what,
            retry_after_s=asked_s,
            poll=stream and status not in {401, 403, 429},
            for_good=status == 400,
        )


def _refuse_behind(headers: Mapping[str, str]) -> None:
    if headers.get("vexil-behind", "").lower() == "true":
        raise NodeFailed("the node is behind what is known here", behind=True)
