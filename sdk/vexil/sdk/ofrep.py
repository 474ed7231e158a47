"""OFREP 0.3.0 as bytes in and bytes out: request bodies to contexts, evaluations to response bodies, entity tags.

A body is a function of what it says and of nothing else: members are sorted, flags are sorted by key, so that every
replica gives the same bytes, and the entity tag, the hash of the bytes, is the same on all of them. It covers the
context and the time too, since both are in what the rules answered.

Three things that clients in use insist on: ``variant`` is always there, ``""`` if there is none; no value is a missing
``value``, never null; the number of a float flag has a decimal point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from vexil.sdk.codes import FLAG_NOT_FOUND, GENERAL, INVALID_CONTEXT
from vexil.sdk.errors import InvalidContext
from vexil.sdk.evaluation import ABSENT, Evaluation
from vexil.sdk.limits import CONTEXT_BYTES_MAX, CONTEXT_DEPTH_MAX

CONTENT_TYPE: Final = "application/json"

# An entity tag, weak or not; quotes may be missing, as some clients have it.
_ENTITY_TAG: Final = re.compile(r'(?:W/)?(?:"([^"]*)"|([^\s",]+))')


class Response(NamedTuple):
    """A status and the bytes of a body."""

    status: int
    body: bytes


def read_context(body: bytes) -> dict[str, Any]:
    """The evaluation context in the body of an OFREP request, single or bulk.

    No body, no ``context`` and a null one are the empty context. Raises ``InvalidContext`` for what is not JSON or not
    an object, and for a context over ``CONTEXT_BYTES_MAX`` or ``CONTEXT_DEPTH_MAX``.
    """
    if not body.strip():
        return {}
    try:
        request = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidContext(f"the context has more than {CONTEXT_DEPTH_MAX} levels") from None
    except ValueError as error:  # malformed JSON, malformed UTF-8, a number of too many digits
        raise InvalidContext(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise InvalidContext("the body is not an object")
    context = request.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise InvalidContext("the context is not an object")
    check_context(context)
    return context


def check_context(context: object) -> None:
    """Raise ``InvalidContext`` unless ``context`` is an object within the limits, as compact JSON in UTF-8."""
    if not isinstance(context, Mapping):
        raise InvalidContext("the context is not an object")
    pending: list[tuple[Any, int]] = [(context, 1)]
    while pending:
        value, level = pending.pop()
        if level > CONTEXT_DEPTH_MAX:
            raise InvalidContext(f"the context has more than {CONTEXT_DEPTH_MAX} levels")
        members = value.values() if isinstance(value, Mapping) else value
        pending.extend(
            (member, level + 1) for member in members if isinstance(member, Mapping | list | tuple)
        )
    try:
        text = json.dumps(context, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidContext(f"the context is not JSON: {error}") from None
    if len(text.encode(errors="surrogatepass")) > CONTEXT_BYTES_MAX:
        raise InvalidContext(f"the context has more than {CONTEXT_BYTES_MAX} bytes")


def single(evaluation: Evaluation) -> Response:
    """The answer to ``POST /ofrep/v1/evaluate/flags/{key}``."""
    body = _item(evaluation)
    if evaluation.error_code is None and not body.error:
        return Response(200, body.encoded)
    return Response(404 if evaluation.error_code == FLAG_NOT_FOUND else 400, body.encoded)


def bulk(
    evaluations: Iterable[Evaluation],
    *,
    metadata: Mapping[str, Any] | None = None,
    event_streams: Sequence[Mapping[str, Any]] = (),
) -> Response:
    """The answer to ``POST /ofrep/v1/evaluate/flags``; flags that failed are items of it.

    ``event_streams`` as the protocol has them; a URL with a fresh ticket in it changes the bytes, and so the tag.
    """
    items = [item(evaluation) for evaluation in sorted(evaluations, key=lambda one: one.key)]
    return bulk_of(items, metadata=metadata, event_streams=event_streams)


def item(evaluation: Evaluation) -> bytes:
    """One evaluation as `bulk` has it: for whoever makes a large answer bit by bit."""
    return _item(evaluation).encoded


def bulk_of(
    items: Iterable[bytes],
    *,
    metadata: Mapping[str, Any] | None = None,
    event_streams: Sequence[Mapping[str, Any]] = (),
) -> Response:
    """As `bulk`, of ``items`` that were made before, ascending by the key of their flag."""
    members = []
    if event_streams:
        members.append(b'"eventStreams":' + _encode([dict(stream) for stream in event_streams]))
    members.append(b'"flags":[' + b",".join(items) + b"]")
    if metadata:
        members.append(b'"metadata":' + _encode(dict(metadata)))
    return Response(200, b"{" + b",".join(members) + b"}")


def invalid_context(details: str, *, key: str | None = None) -> Response:
    """The refusal of a request for its context; ``key`` for a single evaluation, None for a bulk one."""
    body = {"errorCode": INVALID_CONTEXT, "errorDetails": details}
    if key is not None:
        body["key"] = key
    return Response(400, _encode(body))


def entity_tag(body: bytes) -> str:
    """The strong ``ETag`` of a body: its SHA-256 in quotes."""
    return f'"{sha256(body).hexdigest()}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``tag``: weakly, in a list or by ``*``; unquoted tags are taken too."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    wanted = tag.removeprefix("W/").strip('"')
    return any(wanted == (quoted or bare) for quoted, bare in _ENTITY_TAG.findall(if_none_match))


class _Item(NamedTuple):
    encoded: bytes
    error: bool


def _item(evaluation: Evaluation) -> _Item:
    if evaluation.error_code is not None:
        return _failure(evaluation.key, evaluation.error_code, evaluation.error_details, evaluation.metadata)
    body: dict[str, Any] = {
        "key": evaluation.key,
        "reason": evaluation.reason,
        "variant": evaluation.variant,
    }
    if evaluation.value is not ABSENT:
        body["value"] = evaluation.value
    if evaluation.metadata:
        body["metadata"] = dict(evaluation.metadata)
    try:
        return _Item(_encode(body), error=False)
    except (TypeError, ValueError, RecursionError):
        # A value that is not JSON: this flag fails, the others of a bulk answer do not.
        return _failure(evaluation.key, GENERAL, "the value of the flag is not JSON", {})


def _failure(key: str, code: str, details: str | None, metadata: Mapping[str, Any]) -> _Item:
    # Stock clients take an error for a general one if either member is missing.
    body: dict[str, Any] = {"key": key, "errorCode": code, "errorDetails": details or code}
    if metadata:
        body["metadata"] = dict(metadata)
    return _Item(_encode(body), error=True)


def _encode(value: object) -> bytes:
    # Escaped to ASCII: half a surrogate pair has no UTF-8.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
