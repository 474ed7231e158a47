"""Browsers on OFREP: what a page of another origin may send and read.

Only client keys are made for browsers. Answers to a server key say nothing about origins, so a browser keeps them from
the page: a server key that ended up in one is noticed on the first day.
"""

from __future__ import annotations

from typing import Final

from vexil.node.api.access_keys import CLIENT
from vexil.node.api.exchange import Answer, Call
from vexil.node.api.limits import CORS_MAX_AGE_S

PREFIX: Final = "/ofrep/"
ORIGIN: Final = "Access-Control-Allow-Origin"
EXPOSED: Final = "ETag, Retry-After, Vexil-Token, Vexil-Behind, Vexil-As-Of, Vexil-Stale"
PREFLIGHT: Final = {
    ORIGIN: "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": (
        "Authorization, X-API-Key, Content-Type, If-None-Match, Vexil-Token, Vexil-Wait-Ms, "
        "Last-Event-ID, Cache-Control, Flagd-Selector"
    ),
    "Access-Control-Max-Age": str(CORS_MAX_AGE_S),
    "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
}


async def preflight(_call: Call) -> Answer:
    """``OPTIONS /ofrep/…``: asked by browsers, without a key, before a request of another origin."""
    return Answer(b"", 204, dict(PREFLIGHT))


def allow(answer: Answer, call: Call | None) -> None:
    """Let a page read the answer, unless it was given to a key that has no business in a browser."""
    if call is None or not call.is_identified or call.caller.kind == CLIENT:
        answer.headers[ORIGIN] = "*"
        answer.headers["Access-Control-Expose-Headers"] = EXPOSED
