"""What a new local cluster is given to begin with: project, environments and keys; and when it is ready to use.

The one idea: every step looks before it acts, so all of it can be repeated: after a crash in the middle, and at
every later start, when there is nothing left to do.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from vexil.node.dev.credentials import Credentials
from vexil.node.dev.errors import ProvisionFailed, Stopped
from vexil.node.dev.layout import NodePlan

PROJECT = "demo"
ENVIRONMENTS = ("dev", "prod")
ENVIRONMENT = "prod"
KINDS = ("server", "client")
REQUEST_TIMEOUT_S = 5.0
POLL_S = 0.05
BODY_SHOWN_MAX = 200

_UNAUTHORISED = {401, 403}


class _NotYet(Exception):
    """A step that may well succeed in a moment; says what is missing."""


class Provisioner:
    """Makes project and keys through one node, and waits until every node knows them."""

    def __init__(
        self, http: httpx.Client, credentials: Credentials, *, limit_s: float, pause: Callable[[float], bool]
    ) -> None:
        """``pause`` waits so many seconds and says whether the start was called off meanwhile."""
        self._http = http
        self._credentials = credentials
        self._limit_s = limit_s
        self._pause = pause

    def run(self, first: NodePlan, plans: Sequence[NodePlan]) -> None:
        """Do all that is missing. Raises ProvisionFailed, or Stopped."""
        deadline = time.monotonic() + self._limit_s
        self._until(deadline, lambda: self._make_project(first))
        for kind in KINDS:
            self._until(deadline, lambda kind=kind: self._make_key(first, kind))  # type: ignore[misc]
        for node in plans:
            for kind in ("admin", *KINDS):
                self._until(deadline, lambda node=node, kind=kind: self._known(node, kind))  # type: ignore[misc]

    def _until(self, deadline: float, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
            except (_NotYet, httpx.TransportError) as error:
                if time.monotonic() >= deadline:
                    raise ProvisionFailed(f"gave up after {self._limit_s:.0f} s: {error}") from error
            else:
                return
            if self._pause(POLL_S):
                raise Stopped

    def _make_project(self, node: NodePlan) -> None:
        answer = self._as_owner("GET", node, f"/api/v1/projects/{PROJECT}")
        if answer.status_code == 404:
            body = {"environments": list(ENVIRONMENTS)}
            answer = self._as_owner("PUT", node, f"/api/v1/projects/{PROJECT}", body)
        _require(answer, f"the project {PROJECT} at {node.name}")

    def _make_key(self, node: NodePlan, kind: str) -> None:
        key = self._credentials.get(kind)
        if key is not None and self._accepted(node, kind, key):
            return
        body = {"kind": kind, "project": PROJECT, "environment": ENVIRONMENT, "name": f"{PROJECT} {kind}"}
        answer = self._as_owner("POST", node, "/api/v1/keys", body)
        _require(answer, f"the {kind} key at {node.name}")
        made = answer.json().get("key")
        if not isinstance(made, str):
            raise ProvisionFailed(f"{node.name} has made a {kind} key and does not say which")
        self._credentials.keep(kind, made)

    def _known(self, node: NodePlan, kind: str) -> None:
        key = self._credentials.get(kind)
        if key is None or not self._accepted(node, kind, key):
            raise _NotYet(f"{node.name} does not know the {kind} key yet")

    def _accepted(self, node: NodePlan, kind: str, key: str) -> bool:
        """Whether a node takes a key for what it is for. Raises _NotYet when it cannot tell yet."""
        match kind:
            case "admin":
                answer = self._send("GET", node, f"/api/v1/projects/{PROJECT}", key)
            case "server":
                answer = self._send("GET", node, "/flagd/v1/flags.json", key)
            case _:
                answer = self._send("POST", node, "/ofrep/v1/evaluate/flags", key, {"context": {}})
        if answer.status_code in _UNAUTHORISED or answer.status_code == 404:
            return False
        _require(answer, f"{node.name} with the {kind} key")
        return True

    def _as_owner(self, method: str, node: NodePlan, path: str, body: object = None) -> httpx.Response:
        answer = self._send(method, node, path, self._credentials.owner, body)
        if answer.status_code in _UNAUTHORISED:
            # A node makes the cluster's first key just after it has become ready.
            raise _NotYet(
                f"{node.name} does not accept the owner key of keys.json: {_detail(answer)}. "
                "Was it revoked, or is the data of the nodes from another cluster?"
            )
        return answer

    def _send(self, method: str, node: NodePlan, path: str, key: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        if body is not None and method != "GET":
            headers["Idempotency-Key"] = secrets.token_hex(16)
        return self._http.request(
            method, node.url + path, json=body, headers=headers, timeout=REQUEST_TIMEOUT_S
        )


def _require(answer: httpx.Response, what: str) -> None:
    """Pass a success; raise _NotYet for what may pass (busy, not ready), ProvisionFailed for a plain no."""
    if answer.is_success:
        return
    if answer.status_code >= 500 or answer.status_code in {409, 429}:
        raise _NotYet(f"{what}: {_detail(answer)}")
    raise ProvisionFailed(f"{what}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    try:
        problem: Any = answer.json()
        return f"{answer.status_code} {problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:BODY_SHOWN_MAX]}"
