"""What the HTTP interface may answer instead of doing what was asked: the one exception tree of the API side.

Whoever finds out that a request must be refused raises one of these, wherever in the node that is; the HTTP layer
turns it into ``application/problem+json`` once, at the boundary. Each error says with ``definite`` whether the caller
knows the outcome: a definite refusal has written nothing, an indefinite one may be a write that happened::

    ApiError
    ├── Malformed                400 request.malformed
    ├── TokenInvalid             400 token.invalid
    ├── KeyInvalid               401 key.invalid
    ├── TicketInvalid            401 ticket.invalid
    ├── KeyForbidden             403 key.forbidden
    ├── NotFound                 404 <kind>.not_found
    ├── Exists                   409 <kind>.exists
    ├── VariantInUse             409 variant.in_use           + "variant", "used_by"
    ├── InUse                    409 <kind>.in_use            + "used_by"
    ├── ConflictChanged          409 conflict.changed
    ├── TokenBehind              409 token.behind
    ├── MemberRefused            409 member.<why>             self, last, registered
    ├── Stale                    412 <kind>.stale             + "current"
    ├── LimitExceeded            413 limit.<name>
    ├── Invalid                  422 <kind>.invalid           + "errors"
    ├── IdempotencyMismatch      422 idempotency.mismatch
    ├── PreconditionRequired     428 precondition.required
    ├── RateLimited              429 rate.limited
    ├── DurabilityUnavailable    503 durability.unavailable
    ├── NodeNotReady             503 node.not_ready
    ├── StreamsFull              503 limit.streams
    └── WriteIndeterminate       504 write.indeterminate      + "change"; the only one that is not definite

When to come back (``Retry-After``, with every 429 and 503) is drawn at the boundary: whoever refuses cannot know how
many others are refused with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

PROBLEM_CONTENT_TYPE = "application/problem+json"
FIELD_ERRORS_MAX = 100
"""Of a request with more mistakes the first are listed."""
USERS_LISTED_MAX = 100
"""Of what is in use by more the first are listed."""


class FieldError(NamedTuple):
    """One mistake in a request body: where (a JSON pointer, ``""`` is the whole body) and what."""

    path: str
    detail: str


class ApiError(Exception):
    """Root: a refusal with a stable ``code``.

    ``members`` are further members of the problem document; ``headers`` go with the answer. The tree above is all
    that is raised; the root itself never is.
    """

    status = 500
    title = "The request was refused"
    definite = True

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.members: dict[str, object] = dict(members or {})
        self.headers: dict[str, str] = dict(headers or {})

    def to_problem(self) -> dict[str, object]:
        """The body of the answer: the RFC 9457 members, ``code``, ``definite`` and what else this error carries."""
        return {
            "type": f"urn:vexil:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "definite": self.definite,
            **self.members,
        }

    def of_operation(self, index: int) -> ApiError:
        """This same error, told as that of operation ``index`` of a change set: every path starts there."""
        prefix = f"/operations/{index}"
        errors = self.members.get("errors")
        if isinstance(errors, list):
            self.members["errors"] = [{**e, "path": prefix + e["path"]} for e in errors]
        else:
            self.members["errors"] = [{"path": prefix, "detail": self.detail}]
        return self


class Malformed(ApiError):
    """The request cannot be read at all: no JSON, a header that is not of its format, a bad query parameter."""

    status = 400
    title = "The request cannot be read"

    def __init__(self, detail: str) -> None:
        super().__init__("request.malformed", detail)


class TokenInvalid(ApiError):
    """A ``Vexil-Token`` that is not one, or is another project's."""

    status = 400
    title = "The token cannot be read"

    def __init__(self, detail: str) -> None:
        super().__init__("token.invalid", detail)


class KeyInvalid(ApiError):
    """No key, an unknown one, or a revoked one: the answer does not say which."""

    status = 401
    title = "A valid key is needed"

    def __init__(self, detail: str = "no key was sent, or it is not valid") -> None:
        super().__init__("key.invalid", detail, headers={"WWW-Authenticate": "Bearer"})


class TicketInvalid(ApiError):
    """What came as the ticket of an event stream is none of this cluster's, or has long been over."""

    status = 401
    title = "A valid ticket is needed"

    def __init__(self) -> None:
        super().__init__("ticket.invalid", "the ticket is not valid: evaluate again to get another one")


class KeyForbidden(ApiError):
    """A valid key that may not do this."""

    status = 403
    title = "The key does not allow this"

    def __init__(self, detail: str) -> None:
        super().__init__("key.forbidden", detail)


class NotFound(ApiError):
    """There is no such flag, segment, project, environment, key or conflict here."""

    status = 404
    title = "Not found"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind}.not_found", f"there is no {kind} {name!r}")


class Exists(ApiError):
    """A create of something that is there."""

    status = 409
    title = "It exists already"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind}.exists", f"there is a {kind} {name!r} already")


class VariantInUse(ApiError):
    """A variant that something still serves cannot go."""

    status = 409
    title = "The variant is in use"

    def __init__(self, variant: str, users: Sequence[str]) -> None:
        super().__init__(
            "variant.in_use",
            f"variant {variant!r} is used by {', '.join(users)}",
            members={"variant": variant, "used_by": list(users)},
        )


class InUse(ApiError):
    """Something that others need cannot go; ``users`` are their names, of which the first are listed."""

    status = 409
    title = "It is in use"

    def __init__(self, kind: str, name: str, users: Sequence[str]) -> None:
        assert users, "what is in use has a user"
        listed = list(users[:USERS_LISTED_MAX])
        more = f" and {len(users) - len(listed)} more" if len(users) > len(listed) else ""
        super().__init__(
            f"{kind}.in_use",
            f"{kind} {name!r} is required by {', '.join(listed)}{more}",
            members={"used_by": listed},
        )


class ConflictChanged(ApiError):
    """The conflict that the author looked at has other siblings by now, or is gone."""

    status = 409
    title = "The conflict has changed"

    def __init__(self, conflict_id: str) -> None:
        super().__init__("conflict.changed", f"conflict {conflict_id!r} is not there any more: look again")


class TokenBehind(ApiError):
    """This node has not seen what the token has, and the write waits for it no longer."""

    status = 409
    title = "This node is behind the token"

    def __init__(self, detail: str = "this node has not yet seen all that the token has") -> None:
        super().__init__("token.behind", detail)


class MemberRefused(ApiError):
    """Not with this member: it is the node itself (``self``), the ``last`` one, or a ``registered`` one."""

    status = 409
    title = "Not with this member"

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(f"member.{why}", detail)


class Stale(ApiError):
    """What the author saw (``If-Match``) has changed; ``current`` is what is there now, None if nothing is."""

    status = 412
    title = "It has changed since"

    def __init__(self, kind: str, current: object, detail: str) -> None:
        super().__init__(f"{kind}.stale", detail, members={"current": current})


class LimitExceeded(ApiError):
    """Over a limit that has a name."""

    status = 413
    title = "Over a limit"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"limit.{name}", detail)


class Invalid(ApiError):
    """A body that can be read but does not make sense; every mistake that was found is listed."""

    status = 422
    title = "The request is not valid"

    def __init__(self, kind: str, errors: Sequence[FieldError]) -> None:
        assert errors, "an invalid request has at least one mistake"
        listed = errors[:FIELD_ERRORS_MAX]
        super().__init__(
            f"{kind}.invalid",
            "; ".join(f"{e.path or 'body'}: {e.detail}" for e in listed[:3]),
            members={"errors": [{"path": e.path, "detail": e.detail} for e in listed]},
        )


class IdempotencyMismatch(ApiError):
    """The same ``Idempotency-Key`` with another body."""

    status = 422
    title = "The idempotency key was used for something else"

    def __init__(self) -> None:
        super().__init__("idempotency.mismatch", "this Idempotency-Key came with another body before")


class PreconditionRequired(ApiError):
    """A write that is only taken from someone who says what he has seen."""

    status = 428
    title = "If-Match is needed"

    def __init__(self, detail: str) -> None:
        super().__init__("precondition.required", detail)


class RateLimited(ApiError):
    """Too much at once; come back later."""

    status = 429
    title = "Too many requests"

    def __init__(self, detail: str) -> None:
        super().__init__("rate.limited", detail)


class DurabilityUnavailable(ApiError):
    """The durability that was asked for cannot be had now; nothing was written."""

    status = 503
    title = "Not durable enough now"

    def __init__(self, detail: str) -> None:
        super().__init__("durability.unavailable", detail)


class NodeNotReady(ApiError):
    """The node has not loaded its state, or refuses writes because its clock is off."""

    status = 503
    title = "The node is not ready"

    def __init__(self, detail: str) -> None:
        super().__init__("node.not_ready", detail)


class StreamsFull(ApiError):
    """So many streams are open as this node takes: another node, or later."""

    status = 503
    title = "Too many streams"

    def __init__(self, detail: str) -> None:
        super().__init__("limit.streams", detail)


class WriteIndeterminate(ApiError):
    """The write may have happened: retry with the same ``Idempotency-Key`` and this ``change``."""

    status = 504
    title = "The outcome is unknown"
    definite = False

    def __init__(self, change_id: str | None, detail: str = "the write may or may not have happened") -> None:
        super().__init__(
            "write.indeterminate", detail, members={} if change_id is None else {"change": change_id}
        )
