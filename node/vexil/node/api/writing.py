"""Writes: what the headers of a request ask of its change, and how the outcome is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Dot
from vexil.node.api.exchange import Answer, Call
from vexil.node.api.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX
from vexil.node.api.port import Outcome
from vexil.node.authoring import Intent
from vexil.node.errors import Malformed
from vexil.node.idempotency import RETURN_PREFIX
from vexil.node.project import Project

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
CHANGE: Final = "Vexil-Change"
DURABILITY: Final = "Vexil-Durability"
LEVELS: Final = ("node", "peer", "region")

_CHANGE_ID: Final = re.compile(r"([0-9a-f]{16}):([1-9][0-9]{0,17})", re.ASCII)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)

Decide = Callable[[Project], Intent]


async def write(call: Call, decide: Decide, *, project: str, message: str = "") -> Outcome:
    """Make one change of ``project`` as the headers of ``call`` ask for it. Raises ApiError."""
    key, earlier = idempotency_of(call), retry_of(call)
    outcome = await call.node.write(
        project,
        decide,
        author=call.caller.author,
        message=message,
        idempotency=key,
        durability=durability_of(call),
        retry_of=earlier,
    )
    note(call, outcome, project=project)
    return outcome


def note(call: Call, outcome: Outcome, *, project: str) -> None:
    """Remember under which incarnation ``call`` has written, if that is of the project that it is about."""
    if outcome.dot is not None and call.has_project and call.project.name == project:
        call.wrote = outcome.dot[0]


def idempotency_of(call: Call) -> tuple[str, bytes] | None:
    """The request's ``Idempotency-Key`` with the fingerprint of what it asks; None without one. Raises Malformed."""
    key = call.header(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if len(key) > IDEMPOTENCY_KEY_CHARACTERS_MAX or not _PRINTABLE.fullmatch(key):
        raise Malformed(
            f"{IDEMPOTENCY_KEY} must be 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} printable ASCII characters"
        )
    if key.startswith(RETURN_PREFIX):
        raise Malformed(f"an {IDEMPOTENCY_KEY} that starts with {RETURN_PREFIX} is a node's own")
    request = call.request
    digest = sha256()
    for part in (
        request.method.encode(),
        request.path.encode("utf-8", "surrogatepass"),
        request.query_string,
    ):
        # A length before each part: no two requests run into the same bytes.
        digest.update(len(part).to_bytes(4, "big") + part)
    digest.update(call.body)
    return key, digest.digest()


def durability_of(call: Call) -> str:
    """The least durability that the request asks for, "" if none. Raises Malformed."""
    asked = call.header(DURABILITY)
    if asked is None:
        return ""
    if asked not in LEVELS:
        raise Malformed(f"{DURABILITY} must be one of {', '.join(LEVELS)}")
    return asked


def retry_of(call: Call) -> Dot | None:
    """The change of an earlier try that the request names; None if it names none. Raises Malformed."""
    text = call.header(CHANGE)
    if text is None:
        return None
    found = _CHANGE_ID.fullmatch(text)
    if found is None:
        raise Malformed(f"{CHANGE} must be the id of a change: 16 hex digits, a colon, a number")
    if call.header(IDEMPOTENCY_KEY) is None:
        # Without it the write would be made once more.
        raise Malformed(f"{CHANGE} names an earlier try: send its {IDEMPOTENCY_KEY} too")
    return int(found[1], 16), int(found[2])


def change_of(outcome: Outcome) -> dict[str, object] | None:
    """The ``change`` member of an answer; None if there was nothing to write."""
    if outcome.change_id is None or outcome.hlc is None:
        return None
    return {"id": outcome.change_id, "hlc": hlcs.render(outcome.hlc), "durability": outcome.durability}


def written(outcome: Outcome, body: dict[str, object] | None = None, *, status: int = 200) -> Answer:
    """The answer to a write: ``body`` and what the write came to."""
    return Answer({**(body or {}), "change": change_of(outcome)}, status)
