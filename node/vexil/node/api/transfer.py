"""Import and export of flagd documents.

An import is a row of changes, written one after another: each is cut against the state of its moment, so an import that
broke off is gone on with by sending it again. What it has done is then unchanged, and a change whose outcome was not
known is found by its derived idempotency key.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import trio

from vexil.node.api.auth import EDITOR, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.limits import IDEMPOTENCY_KEY_CHARACTERS_MAX
from vexil.node.api.problems import of
from vexil.node.api.writing import durability_of, idempotency_of, retry_of
from vexil.node.authoring import FlagdImport, ImportChange, Outcome
from vexil.node.authoring.json_data import pointer
from vexil.node.errors import ApiError, FieldError, Invalid, VariantInUse
from vexil.sdk.flagd import ImportedFlag, NotExportable, from_flagd, to_flagd

MODES: Final = ("merge", "replace")
IN_USE: Final = "variant.in_use"
EXPORT: Final = "export"
IMPORT: Final = "import"


async def import_document(call: Call) -> Answer:
    """Take in a flagd document; see `vexil.node.authoring.flagd_import`. 200, also if some flags could not be."""
    environment = call.environment(call.query.needed("environment"))
    dry_run = call.query.boolean("dry_run") or False
    mode = call.query.choice("mode", MODES)
    document = call.json()
    call.body = b""  # the decoded document is large enough
    run = FlagdImport(
        call.project, document, environment=environment, mode=mode, exported=_exported(call, environment)
    )
    total = Outcome()
    made: list[str] = []
    count = 0
    for change in run.changes(call.project):
        if not dry_run:
            try:
                change_id = await _write(call, change)
            except ApiError as error:
                if made:
                    # Not all of it, but some of it has happened.
                    error.definite = False
                    error.members |= {"changes": count, "change_ids": made}
                raise
            if change_id is not None:
                made.append(change_id)
        total.add(change.outcome)
        count += 1
        await trio.lowlevel.checkpoint()
    result: dict[str, Any] = {
        "changes": count,
        "change_ids": made,
        "created": total.created,
        "updated": total.updated,
        "deleted": total.deleted,
        "unchanged": run.unchanged + total.unchanged,
        "warnings": run.warnings,
        "errors": run.errors + total.errors,
    }
    return _all_refused(result) or Answer(result)


def _exported(call: Call, environment: str) -> Sequence[ImportedFlag]:
    """The flags of the environment as an export would have them: what comes back as it went out is left alone."""
    document, _ = to_flagd(call.project.flag_set(environment))
    return from_flagd(document).flags


async def _write(call: Call, change: ImportChange) -> str | None:
    idempotency = idempotency_of(call)
    if idempotency is not None:
        key, fingerprint = idempotency
        derived = f"{key}/{change.label}"
        if len(derived) > IDEMPOTENCY_KEY_CHARACTERS_MAX:
            derived = sha256(derived.encode()).hexdigest()
        idempotency = (derived, fingerprint)
    outcome = await call.node.write(
        call.project.name,
        change.decide,
        author=call.caller.author,
        message=IMPORT,
        idempotency=idempotency,
        durability=durability_of(call),
        retry_of=retry_of(call),
    )
    return outcome.change_id


def _all_refused(result: dict[str, Any]) -> Answer | None:
    """The refusal of an import of which nothing could be taken in; None if something was, or there was nothing."""
    errors = result["errors"]
    if not errors or any(result[name] for name in ("changes", "created", "updated", "deleted", "unchanged")):
        return None
    refusal: ApiError = Invalid(IMPORT, [FieldError(e["path"], e["detail"]) for e in errors])
    if all(e["code"] == IN_USE for e in errors):
        refusal = VariantInUse("", [])
        refusal.detail = errors[0]["detail"]
    refusal.members = {**result}
    return of(refusal)


async def export_document(call: Call) -> Answer:
    """The flagd document of an environment. Flags that cannot be said refuse it, unless ``partial=true``."""
    environment = call.environment(call.query.needed("environment"))
    made = call.services.documents.of(call.project, environment)
    if made.left_out and not call.query.boolean("partial"):
        raise not_exportable(made.left_out)
    return Answer(made.body, headers={"ETag": made.etag})


def not_exportable(left_out: Sequence[NotExportable]) -> Invalid:
    """The refusal that names the flags that flagd's language cannot say, with the reasons."""
    return Invalid(EXPORT, [FieldError(pointer("", "flags", flag.key), flag.reason) for flag in left_out])


_PROJECT: Final = "/api/v1/projects/<project>"
ROUTES: Final = (
    Route(
        method="POST",
        path=f"{_PROJECT}/import",
        handler=import_document,
        access=Access(role=EDITOR),
        writes=True,
        bulky=True,
        query=frozenset(("environment", "mode", "dry_run")),
    ),
    Route(
        method="GET",
        path=f"{_PROJECT}/export",
        handler=export_document,
        access=Access(role=VIEWER),
        query=frozenset(("environment", "partial")),
    ),
)
