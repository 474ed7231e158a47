"""From what went wrong to what is answered: the one place that knows both exceptions and ``application/problem+json``.

An `ApiError` says itself what to answer. What the HTTP framework refuses (no such path, another method, a body that is
too long or too slow) is given the same form. Anything else is a bug of ours: it is logged once under an id, and the
caller learns that id and no more.
"""

from __future__ import annotations

from random import Random
from typing import Final

from werkzeug.exceptions import HTTPException, RequestTimeout

from vexil.node.api.exchange import Answer, Services
from vexil.node.api.limits import ApiLimits
from vexil.node.errors import PROBLEM_CONTENT_TYPE, ApiError, NodeNotReady
from vexil.node.seams import StoreError
from vexil.sdk.codes import GENERAL

REQUEST_ID_BYTES: Final = 8
INTERNAL: Final = "internal"
COME_BACK: Final = frozenset((429, 503))
"""Statuses that say: later."""


def answer_to(error: Exception, services: Services, *, method: str, route: str, writes: bool) -> Answer:
    """What to answer to a request that ended in ``error``, and when to come back."""
    answer = _answer_to(error, services, method=method, route=route, writes=writes)
    say_when_to_come_back(answer, services.limits, services.rng)
    return answer


def say_when_to_come_back(answer: Answer, limits: ApiLimits, rng: Random) -> None:
    """Give an answer that says "later" a ``Retry-After``: drawn, so that not all come at once."""
    if answer.status in COME_BACK:
        answer.headers["Retry-After"] = str(rng.randint(limits.retry_after_s_min, limits.retry_after_s_max))


def _answer_to(error: Exception, services: Services, *, method: str, route: str, writes: bool) -> Answer:
    if isinstance(error, ApiError):
        return of(error)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, StoreError):
        return of(NodeNotReady(f"the region's store does not answer: {error}"))
    request_id = services.entropy.token_bytes(REQUEST_ID_BYTES).hex()
    services.log.error("a request failed", request_id=request_id, method=method, route=route, exc_info=error)
    # Whether a write had happened before our own code failed is not known here.
    return problem(
        500,
        INTERNAL,
        "This node failed",
        f"the node's log says why under {request_id}",
        definite=not writes,
        request_id=request_id,
    )


def of(error: ApiError) -> Answer:
    """The problem document of a refusal, with its headers."""
    return Answer(error.to_problem(), error.status, dict(error.headers), PROBLEM_CONTENT_TYPE)


def problem(
    status: int, code: str, title: str, detail: str, *, definite: bool = True, **members: object
) -> Answer:
    """A problem document that no ApiError stands for."""
    body = {
        "type": f"urn:vexil:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "definite": definite,
        **members,
    }
    return Answer(body, status, content_type=PROBLEM_CONTENT_TYPE)


def say_it_in_ofrep(answer: Answer, key: str | None) -> None:
    """Give a problem document the members that OFREP clients look for in a failure; others ignore them."""
    if answer.content_type == PROBLEM_CONTENT_TYPE and isinstance(answer.body, dict):
        answer.body |= {"errorCode": GENERAL, "errorDetails": answer.body["detail"]}
        if key is not None:
            answer.body["key"] = key


def _of_framework(error: HTTPException) -> Answer:
    if isinstance(error, RequestTimeout):
        return problem(408, "request.slow", "The request took too long", "the body did not arrive in time")
    status = error.code or 500
    if status == 404:
        return problem(404, "path.not_found", "Not found", "there is nothing at this path")
    if status == 405:
        answer = problem(405, "method.not_allowed", "Not with this method", "the path knows other methods")
        allowed = getattr(error, "valid_methods", None)
        if allowed:
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer
    # Redirects of the router are switched off; what is left are malformed requests.
    return problem(400, "request.malformed", "The request cannot be read", "the request cannot be read")
