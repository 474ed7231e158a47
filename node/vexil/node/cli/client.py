"""One command's conversation with the cluster: requests, fail-over, tokens, and what to do about a lost answer.

The one idea: what happened to a write decides what may be done next.

- *Nothing was sent* (no connection) or the node said that it is not ready: the next node is asked.
- *A definite refusal*: it is shown, never repeated.
- *Nobody knows* (504, or the connection was lost after the request went out): asked once more with the same
  ``Idempotency-Key``, and with ``Vexil-Change`` if the change was named. Without that name only the same node can
  tell a repetition from a new write, so no other one is asked. Still unknown: OutcomeUnknown, exit code 3.
  A refusal of the repetition says nothing about the first request. If it is one that passes (the node starts again, or
  has too much to do) the repetition is sent again after a pause, a few times; it never becomes the outcome.

Reads carry the ``Vexil-Token`` of the answers before, so a fail-over in the middle of a command never goes back in
time without saying so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from vexil.node.adapters.system import SystemEntropy, pause
from vexil.node.cli.errors import OutcomeUnknown, Refused, Unreachable
from vexil.node.cli.lost_answer import ATTEMPTS_MAX, Lost, Unknown
from vexil.node.cli.output import warn
from vexil.node.cli.settings import ClusterNode, Settings, Target

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 30.0
IMPORT_TIMEOUT_S = 900.0
PAGE_SIZE = 500
PAGES_MAX = 10_000
IDEMPOTENCY_KEY_BYTES = 16
PROBLEM_BODY_SHOWN_MAX = 200

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
# A proxy meant for the world cannot reach this machine's own nodes.
_DIRECT = ("all://127.0.0.1", "all://localhost", "all://[::1]")

Body = Callable[[], bytes | Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered: decoded JSON, the ETag to send back, whether it was behind the token, and who it was."""

    body: Any
    etag: str | None
    behind: bool
    node: ClusterNode


@dataclass(slots=True)
class _Request:
    """One request as it is sent to each node that is asked."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: dict[str, str]
    body: Body | None
    timeout: httpx.Timeout


class Client:
    """Requests to the nodes of one target; use it as a context manager."""

    def __init__(
        self,
        target: Target,
        *,
        transport: httpx.BaseTransport | None = None,
        new_idempotency_key: Callable[[], str] | None = None,
        pause: Callable[[float], None] = pause,
    ) -> None:
        self._nodes = target.nodes
        self._at = 0
        self._key = target.key
        self._tokens: dict[str, str] = {}
        self._new_key = new_idempotency_key or _random_key
        self._pause = pause
        mounts = {} if transport else {pattern: httpx.HTTPTransport() for pattern in _DIRECT}
        self._http = httpx.Client(transport=transport, mounts=mounts, follow_redirects=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """A client for the target of ``settings``."""
        return cls(settings.target(), transport=settings.transport, pause=settings.pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET ``path``, from the first node that answers. Raises Refused or Unreachable."""
        request = self._request("GET", path, params or {}, None, ANSWER_TIMEOUT_S)
        try:
            return self._sent(request, elsewhere=True)
        except Unknown as lost:
            raise Unreachable(f"no whole answer: {lost}") from lost

    def ask(self, path: str, document: object, params: Mapping[str, str] | None = None) -> Answer:
        """POST a question that changes nothing, to the first node that takes it. Raises Refused or Unreachable."""
        request = self._request("POST", path, params or {}, _encoded(document), ANSWER_TIMEOUT_S)
        try:
            return self._sent(request, elsewhere=True)
        except Unknown as lost:
            raise Unreachable(f"no whole answer: {lost}") from lost

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """The bytes that GET ``path`` answers, as they come, from the first node that answers.

        Raises Refused or Unreachable, the bytes Unreachable if they break off.
        """
        request = self._request("GET", path, {}, None, ANSWER_TIMEOUT_S)
        response, node = self._opened(request)
        try:
            if not response.is_success:
                response.read()
                self._refuse(response, _decoded(response), request, node)
            yield _pieces(response, node)
        finally:
            response.close()

    def _opened(self, request: _Request) -> tuple[httpx.Response, ClusterNode]:
        refusals: list[str] = []
        for node in self._nodes:
            url = node.url + request.path
            made = self._http.build_request("GET", url, headers=request.headers, timeout=request.timeout)
            try:
                return self._http.send(made, stream=True), node
            except httpx.TransportError as error:
                refusals.append(f"{node.url}: {str(error) or type(error).__name__}")
        raise _unreachable(refusals)

    def pages(
        self, path: str, params: Mapping[str, str] | None = None, *, limit: int | None = None
    ) -> Iterator[Any]:
        """The items of a list, page by page; at most ``limit``. Raises Refused or Unreachable."""
        count = 0
        wanted = {**(params or {}), "page_size": str(min(limit or PAGE_SIZE, PAGE_SIZE))}
        for _ in range(PAGES_MAX):
            page = self.read(path, wanted).body
            for item in page["items"]:
                yield item
                count += 1
                if count == limit:
                    return
            if not page.get("next_page_token"):
                return
            wanted["page_token"] = page["next_page_token"]
        warn(f"only the first {PAGES_MAX} pages are shown")

    def write(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        params: Mapping[str, str] | None = None,
        etag: str | None = None,
        raw: Body | None = None,
        raw_bytes: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        """Write once: ``document`` as JSON, or the ``raw_bytes`` bytes that ``raw`` gives anew for each attempt.

        Returns the answer of the write, or of its repetition. Raises Refused (nothing written), Unreachable (nothing
        sent) or OutcomeUnknown: also when the answer was lost and the repetition is refused, whatever the refusal.
        """
        body = raw or (None if document is None else _encoded(document))
        request = self._request(method, path, params or {}, body, timeout_s)
        if raw_bytes is not None:
            request.headers["Content-Length"] = str(raw_bytes)
        key = idempotency_key or self._new_key()
        request.headers["Idempotency-Key"] = key
        if etag is not None:
            request.headers["If-Match"] = etag
        lost = Lost()
        while lost.count < ATTEMPTS_MAX:
            try:
                if lost.pause_s:
                    self._pause(lost.pause_s)
                # A repetition without a named change is only safe where the first one went.
                return self._sent(request, elsewhere=lost.count == 0 or lost.change is not None)
            except Unknown as again:
                lost.note(again)
            except (Refused, Unreachable) as refusal:
                if lost.count == 0:
                    raise
                if not lost.worth_a_pause(refusal):
                    break
            except KeyboardInterrupt:
                lost.reason = "interrupted while waiting for the answer"
                break
            if lost.change is not None:
                request.headers["Vexil-Change"] = lost.change
        raise self._unknown(lost.reason, lost.change, key)

    @property
    def nodes(self) -> tuple[ClusterNode, ...]:
        """The nodes of the target, in the order in which they are asked."""
        return self._nodes

    def only(self, node: ClusterNode) -> Client:
        """A client of ``node`` alone, on this client's connections."""
        alone = Client.__new__(Client)
        alone._nodes = (node,)  # noqa: SLF001 - the same class
        alone._at = 0  # noqa: SLF001
        alone._key = self._key  # noqa: SLF001
        alone._tokens = {}  # noqa: SLF001
        alone._new_key = self._new_key  # noqa: SLF001
        alone._pause = self._pause  # noqa: SLF001
        alone._http = self._http  # noqa: SLF001
        return alone

    def _request(
        self, method: str, path: str, params: Mapping[str, str], body: Body | None, timeout_s: float
    ) -> _Request:
        headers = {"Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if body is not None:
            is_patch = method == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if is_patch else "application/json"
        return _Request(
            method, path, params, headers, body, httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        )

    def _sent(self, request: _Request, *, elsewhere: bool) -> Answer:
        """The answer of the current node, or of the first of the others that takes the request."""
        refusals: list[str] = []
        not_ready: Refused | None = None
        for _ in range(len(self._nodes) if elsewhere else 1):
            node = self._nodes[self._at]
            try:
                answer = self._sent_to(node, request)
            except _NOTHING_SENT as error:
                refusals.append(f"{node.url}: {str(error) or type(error).__name__}")
            except httpx.TransportError as error:
                if request.method != "GET":
                    raise Unknown(f"{node.url}: {str(error) or type(error).__name__}") from error
                refusals.append(f"{node.url}: {str(error) or type(error).__name__}")
            except Refused as refused:
                if refused.problem_code != "node.not_ready":
                    raise
                not_ready = refused
            else:
                return answer
            if elsewhere:
                self._at = (self._at + 1) % len(self._nodes)
        if not_ready is not None:
            raise not_ready
        raise _unreachable(refusals)

    def _sent_to(self, node: ClusterNode, request: _Request) -> Answer:
        project = _project_of(request.path)
        headers = dict(request.headers)
        if project in self._tokens:
            headers["Vexil-Token"] = self._tokens[project]
        response = self._http.request(
            request.method,
            node.url + request.path,
            params=dict(request.params),
            headers=headers,
            content=request.body() if request.body else None,
            timeout=request.timeout,
        )
        body = _decoded(response)
        if not response.is_success:
            self._refuse(response, body, request, node)
        if project and "vexil-token" in response.headers:
            self._tokens[project] = response.headers["vexil-token"]
        behind = response.headers.get("vexil-behind", "").lower() == "true"
        if behind:
            warn(f"{node.url} is behind what this command has already seen; its answer is older")
        return Answer(body, response.headers.get("etag"), behind, node)

    def _refuse(self, response: httpx.Response, body: object, request: _Request, node: ClusterNode) -> None:
        problem: dict[str, Any] = dict(body) if isinstance(body, dict) else {}
        definite = problem.get("definite", response.status_code < 500)
        if request.method != "GET" and not definite:
            title = problem.get("title") or f"answer {response.status_code}"
            named = response.headers.get("vexil-change") or problem.get("change")
            if isinstance(named, dict):
                named = named.get("id")
            raise Unknown(f"{node.url}: {title}", named if isinstance(named, str) else None)
        if not problem:
            text = response.text.strip()[:PROBLEM_BODY_SHOWN_MAX]
            problem = {"detail": text} if text else {}
        refused = Refused(status=response.status_code, problem=problem, url=node.url)
        retry_after = response.headers.get("retry-after")
        if retry_after:
            refused.retry_after_s = _seconds(retry_after)
            refused.explained([f"try again in {retry_after} s"])
        raise refused

    def _unknown(self, reason: str, change: str | None, key: str) -> OutcomeUnknown:
        node = self._nodes[self._at]
        more = [
            f"last answer: {reason}",
            "the write may have happened: look with `vexil history` or `vexil flag get` before you repeat it",
        ]
        if change:
            more.insert(0, f"change: {change}")
        document = {"change": change, "idempotency_key": key, "node": node.url, "definite": False}
        return OutcomeUnknown("the outcome is unknown", more=more, document=document)


def path(*parts: str) -> str:
    """The path of the admin API under ``/api/v1`` with every part escaped."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _pieces(response: httpx.Response, node: ClusterNode) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes()
    except httpx.TransportError as error:
        raise Unreachable(f"no whole answer: {node.url}: {str(error) or type(error).__name__}") from error


def _random_key() -> str:
    return SystemEntropy().token_bytes(IDEMPOTENCY_KEY_BYTES).hex()


def _seconds(retry_after: str) -> float | None:
    """A ``Retry-After`` in seconds; None if it is a date."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None


def _encoded(document: object) -> Body:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return lambda: data


def _decoded(response: httpx.Response) -> Any:
    """The JSON body; None for an empty one. A successful answer that is no JSON is not from a node."""
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        if not response.is_success:
            return None
        problem = {"title": "this is not a Vexil node", "detail": "its answer is not JSON"}
        url = str(response.request.url)
        raise Refused(status=response.status_code, problem=problem, url=url) from error


def _project_of(request_path: str) -> str | None:
    """The project whose token belongs to a request; tokens are unique to a project."""
    parts = request_path.split("/")
    return parts[4] if len(parts) > 4 and parts[3] == "projects" else None


def _unreachable(refusals: list[str]) -> Unreachable:
    what = "the node cannot be reached" if len(refusals) == 1 else "no node can be reached"
    hints = ["start a cluster with `vexil dev`, or one node with `vexil node --config node.toml`"]
    return Unreachable(what, more=[*refusals, *hints], document={"nodes": refusals})
