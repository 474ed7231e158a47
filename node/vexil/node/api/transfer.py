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
from vexil.node.api.turns import in_turns
from vexil.node.api.writing import durability_of, idempotency_of, note, retry_of
from vexil.node.authoring import FlagdImport, ImportChange, Intent, Outcome
from vexil.node.authoring.json_data import pointer
from vexil.node.errors import ApiError, FieldError, IdempotencyMismatch, Invalid, VariantInUse
from vexil.node.project import Project
from vexil.sdk.flagd import FlagdExport, ImportedFlag, NotExportable, from_flagd

MODES: Final = ("merge", "replace")
IN_USE: Final = "variant.in_use"
EXPORT: Final = "export"
IMPORT: Final = "import"
HALF_BYTES: Final = 16
"""Half of a fingerprint: enough that no two documents are taken for one another."""


async def import_document(call: Call) -> Answer:
    """Take in a flagd document; see `vexil.node.authoring.flagd_import`. 200, also if some flags could not be."""
    environment = call.environment(call.query.needed("environment"))
    dry_run = call.query.boolean("dry_run") or False
    mode = call.query.choice("mode", MODES)
    # What the headers ask is read first: the fingerprint of the request is taken over its body.
    run_as = _RunAs(call)
    document = call.json()
    call.body = b""  # the decoded document is large enough
    if not dry_run:
        await run_as.begin()
    run = FlagdImport(
        call.project,
        document,
        environment=environment,
        mode=mode,
        exported=await _exported(call, environment),
    )
    total = Outcome()
    made: list[str] = []
    count = 0
    for change in run.changes(call.project, dry_run=dry_run):
        if not dry_run:
            try:
                change_id = await run_as.write(change)
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


async def _exported(call: Call, environment: str) -> Sequence[ImportedFlag]:
    """The flags of the environment as an export would have them: what comes back as it went out is left alone."""
    flags: list[ImportedFlag] = []
    with call.project.flag_set(environment).cut() as cut:
        export = FlagdExport(cut)
        others = export.others()
        async for turn in in_turns(sorted(cut.flags)):
            flags += from_flagd({"flags": export.flags(turn), **others}).flags
    return flags


class _RunAs:
    """How the changes of one import are written.

    The first of them has the import's own ``Idempotency-Key``, so that the key stands for this document everywhere;
    the others have keys that are derived from it and from what they do. The first one's fingerprint is half the
    document's and half that of what it does.
    """

    __slots__ = ("_call", "_document", "_durability", "_earlier", "_key")

    def __init__(self, call: Call) -> None:
        """Read the headers of ``call``; its body must still be there. Raises Malformed."""
        self._call = call
        idempotency = idempotency_of(call)
        self._key = None if idempotency is None else idempotency[0]
        self._document = b"" if idempotency is None else idempotency[1][:HALF_BYTES]
        self._durability = durability_of(call)
        self._earlier = retry_of(call)

    async def begin(self) -> None:
        """Before the state is looked at: wait for the change of an earlier try, and look whose the key is.

        Raises WriteIndeterminate if that change does not come, IdempotencyMismatch if the key came with another
        request before, NodeNotReady if the keys from before a start cannot be looked up yet.
        """
        call = self._call
        if self._earlier is not None:
            # Only waited for, and made as durable as is asked. It may be any one of the run: what it did is then
            # unchanged, and the run goes on behind it.
            await call.node.write(
                call.project.name,
                _nothing,
                author=call.caller.author,
                durability=self._durability,
                retry_of=self._earlier,
            )
        if self._key is not None:
            await call.project.idempotency.until_complete()
        self._known()

    async def write(self, change: ImportChange) -> str | None:
        """Write one change; its id, None if there was nothing to do. Raises ApiError."""
        if self._key is None:
            return await self._written(change, None)
        fingerprint = self._document + sha256(change.label.encode()).digest()[:HALF_BYTES]
        known = self._known()
        if known is None or known == fingerprint:
            try:
                return await self._written(change, (self._key, fingerprint))
            except IdempotencyMismatch:
                # The key has come in since; if with another change of this same document, ours is not made yet.
                self._known()
        derived = f"{self._key}/{change.label}"
        if len(derived) > IDEMPOTENCY_KEY_CHARACTERS_MAX:
            derived = sha256(derived.encode()).hexdigest()
        return await self._written(change, (derived, fingerprint))

    def _known(self) -> bytes | None:
        """The fingerprint under which the key is known. Raises IdempotencyMismatch if it is not this document's."""
        known = None if self._key is None else self._call.project.idempotency.lookup(self._key)
        if known is None:
            return None
        if known.fingerprint[:HALF_BYTES] != self._document:
            raise IdempotencyMismatch
        return known.fingerprint

    async def _written(self, change: ImportChange, idempotency: tuple[str, bytes] | None) -> str | None:
        call = self._call
        outcome = await call.node.write(
            call.project.name,
            change.decide,
            author=call.caller.author,
            message=IMPORT,
            idempotency=idempotency,
            durability=self._durability,
        )
        note(call, outcome, project=call.project.name)
        return outcome.change_id


def _nothing(_project: Project) -> Intent:
    return Intent()


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
    made = await call.services.documents.of(call.project, environment)
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
