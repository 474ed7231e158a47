"""A flagd document as a row of changes.

A document may hold more than one change can, so an import is not atomic: it is cut into changes that each fit, and
each of them is decided, like everything, against the state at the moment of its write. What cannot be taken in is
reported and does not stop the rest. An import that is done again finds what it has done before and leaves it alone.

What a flag of the document does to its flag, in the import's environment:

- it replaces all of that environment but the kill switch (nobody clears a kill that he has not seen): state, default,
  targeting, metadata; rules and ``off_variant`` go, flagd has none. A flag that would be exported just as the document
  has it is left alone: so an exported document can be imported without its rules becoming raw targeting;
- new variants are added. A variant that the document does not have goes if no other environment uses it and no flag
  requires it, else it stays. Another value of a variant that another environment uses is ``variant.in_use``;
- the type cannot change (an integer in the document is fine for a float flag).

``merge`` touches nothing else. ``replace`` makes the environment what the document says: a flag that the document does
not name is deleted if no other environment has anything of it and no flag requires it; else its part of this
environment is reset. ``$evaluators`` and set metadata go to the environment's flagd part: entry by entry in ``merge``,
as a whole in ``replace``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from vexil.crdt import schema
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.environment_patch import EnvironmentPatch
from vexil.node.authoring.flag_checks import FlagChecks, users_in
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import Mistakes, look_through, pointer, same
from vexil.node.authoring.limits import (
    CHANGE_BYTES_MAX,
    CHANGE_CELLS_MAX,
    FLAGS_MAX,
    OPERATIONS_MAX,
)
from vexil.node.authoring.settings import ENVIRONMENT_KIND, PlainSheet, flagd_entries
from vexil.node.authoring.sheet import Sheet
from vexil.node.authoring.view import View
from vexil.node.authoring.workspace import Workspace, refuse_too_much, write_bytes
from vexil.node.errors import ApiError, FieldError, Invalid, Malformed, NotFound, VariantInUse
from vexil.sdk.flagd import ImportedFlag, from_flagd

MERGE: Final = "merge"
REPLACE: Final = "replace"
IMPORT: Final = "import"
# A change is cut before it is full: the state may grow between the cut and the write.
_CELLS_WANTED: Final = CHANGE_CELLS_MAX // 2
_BYTES_WANTED: Final = CHANGE_BYTES_MAX // 2
_LABEL_DIGITS: Final = 32

Report = dict[str, str]


@dataclass(slots=True)
class Outcome:
    """What a change did, by flag; ``errors`` are ``{"path", "detail", "code"}``."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    errors: list[Report] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count what another change did, too."""
        self.created += other.created
        self.updated += other.updated
        self.deleted += other.deleted
        self.unchanged += other.unchanged
        self.errors += other.errors


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be done to one object: ``act`` edits a workspace and says which counter of `Outcome` it is."""

    path: str
    label: str
    act: Callable[[Workspace], str]


class ImportChange:
    """One change of an import. ``outcome`` is what the last decision came to.

    ``label`` is the same for the same steps of the same document: with it and the import's ``Idempotency-Key`` a
    retry finds a change that has been made.
    """

    __slots__ = ("_extra", "_flags_max", "_steps", "label", "outcome")

    def __init__(
        self,
        label: str,
        steps: Sequence[_Step],
        extra: Callable[[View], list[CellWrite]] | None = None,
        *,
        flags_max: int = FLAGS_MAX,
    ) -> None:
        """Made by `FlagdImport.changes`: ``extra`` gives writes that belong to no flag."""
        self._steps = steps
        self._extra = extra
        self._flags_max = flags_max
        self.outcome = Outcome()
        self.label = sha256(label.encode()).hexdigest()[:_LABEL_DIGITS]

    def decide(self, view: View) -> Intent:
        """The change against ``view``. Raises LimitExceeded if it has grown too big since it was cut."""
        self.outcome = Outcome()
        writes = [] if self._extra is None else self._extra(view)
        reads = {write.object for write in writes}
        created: set[str] = set()
        for step in self._steps:
            more = self.outcome.created - self.outcome.deleted
            workspace = Workspace(view, flags_more=more, flags_max=self._flags_max, seed=self.label)
            intent = decide_step(workspace, step, self.outcome)
            writes += intent.writes
            reads |= intent.reads
            created |= intent.created
        refuse_too_much(writes)
        return Intent(writes, reads=frozenset(reads), created=frozenset(created))


class FlagdImport:
    """One import: ``warnings`` and ``errors`` of the document as such, and the changes that it comes to."""

    __slots__ = (
        "_document",
        "_environment",
        "_exported",
        "_flags_max",
        "_mode",
        "errors",
        "unchanged",
        "warnings",
    )

    def __init__(
        self,
        view: View,
        document: object,
        *,
        environment: str,
        mode: str,
        exported: Iterable[ImportedFlag] = (),
        flags_max: int = FLAGS_MAX,
    ) -> None:
        """Read the document. ``exported`` are the flags as an export of this environment would have them now.

        Raises NotFound for an unknown environment, Malformed for an unknown mode, Invalid and LimitExceeded for a
        document that cannot be stored at all.
        """
        if environment not in view.environments:
            raise NotFound(ENVIRONMENT_KIND, environment)
        if mode not in (MERGE, REPLACE):
            raise Malformed(f"mode must be {MERGE} or {REPLACE}")
        if not isinstance(document, dict):
            raise Invalid(IMPORT, [FieldError("", "must be an object")])
        look_through(IMPORT, document)
        self._document = from_flagd(document)
        self._environment = environment
        self._mode = mode
        self._flags_max = flags_max
        self._exported = {flag.key: flag for flag in exported}
        self.warnings: list[Report] = [{"path": p.path, "detail": p.detail} for p in self._document.warnings]
        self.errors: list[Report] = [
            {"path": p.path, "detail": p.detail, "code": "import.invalid"} for p in self._document.errors
        ]
        if mode == REPLACE and self.errors:
            detail = "flags that it does not name are kept, because the document has errors"
            self.warnings.append({"path": "", "detail": detail})
        self.unchanged = 0
        """Flags that needed no change; grows while `changes` is gone through."""

    def changes(self, view: View, *, dry_run: bool = False) -> Iterator[ImportChange]:
        """The changes, one after another; write each before asking for the next, or none of them (``dry_run``).

        Each is cut against the state as it is when it is asked for, and holds only what differs then; what cannot be
        done is in ``errors``.
        """
        part = self._flagd_part()
        if part(view):
            entries = [dict(self._document.evaluators), dict(self._document.metadata)]
            yield ImportChange(self._label("flagd", repr(entries)), (), part)
        steps: list[_Step] = []
        cells = size = 0
        more_before = 0
        outcome = Outcome()
        for step in self._steps(view):
            tried = Outcome()
            more_flags = more_before + outcome.created - outcome.deleted
            workspace = Workspace(view, flags_more=more_flags, flags_max=self._flags_max)
            intent = decide_step(workspace, step, tried)
            if not intent.writes:
                self.unchanged += tried.unchanged
                self.errors += tried.errors
                continue
            more = sum(map(write_bytes, intent.writes))
            if steps and (
                len(steps) == OPERATIONS_MAX
                or cells + len(intent.writes) > _CELLS_WANTED
                or size + more > _BYTES_WANTED
            ):
                yield _cut(steps, outcome, self._flags_max)
                if dry_run:
                    # Nobody has written them: the state does not count them.
                    more_before += outcome.created - outcome.deleted
                steps, cells, size, outcome = [], 0, 0, Outcome()
            steps.append(step)
            outcome.add(tried)
            cells += len(intent.writes)
            size += more
        if steps:
            yield _cut(steps, outcome, self._flags_max)

    def _steps(self, view: View) -> Iterator[_Step]:
        for flag in self._document.flags:
            exported = self._exported.get(flag.key)
            if exported is not None and _alike(exported, flag):
                self.unchanged += 1
                continue
            yield _Step(
                pointer("", "flags", flag.key),
                self._label("flag", f"{flag!r}"),
                lambda workspace, flag=flag: _take_in(workspace, flag, self._environment),  # type: ignore[misc]
            )
        if self._mode == REPLACE and not self._document.errors:
            named = {flag.key for flag in self._document.flags}
            for key in [key for key in view.flag_keys() if key not in named]:
                yield _Step(
                    pointer("", "flags", key),
                    self._label("drop", key),
                    lambda workspace, key=key: _drop(workspace, key, self._environment),  # type: ignore[misc]
                )

    def _label(self, what: str, text: str) -> str:
        return f"{what} {self._environment} {self._mode} {text}"

    def _flagd_part(self) -> Callable[[View], list[CellWrite]]:
        mistakes = Mistakes(IMPORT)
        evaluators = flagd_entries(
            schema.EVALUATOR, dict(self._document.evaluators), "/$evaluators", mistakes
        )
        metadata = flagd_entries(schema.METADATA, dict(self._document.metadata), "/metadata", mistakes)
        mistakes.refuse()

        def writes(view: View) -> list[CellWrite]:
            sheet = PlainSheet(view, schema.flagd_object(self._environment))
            for prefix, entries in (
                (schema.evaluator_field(""), evaluators),
                (schema.metadata_field(""), metadata),
            ):
                if self._mode == REPLACE:
                    sheet.replace(prefix, entries)
                else:
                    for name, value in entries.items():
                        sheet.put(prefix + name, value)
            found = sheet.writes()
            refuse_too_much(found)
            return found

        return writes


def _cut(steps: Sequence[_Step], outcome: Outcome, flags_max: int) -> ImportChange:
    change = ImportChange("\n".join(step.label for step in steps), steps, flags_max=flags_max)
    change.outcome = outcome
    return change


def decide_step(workspace: Workspace, step: _Step, outcome: Outcome) -> Intent:
    """Do one step on its own; a refusal is told in ``outcome`` and writes nothing."""
    try:
        counter = step.act(workspace)
        intent = workspace.intent()
    except ApiError as error:
        outcome.errors.append({"path": step.path, "detail": error.detail, "code": error.code})
        return Intent()
    if not intent.writes:
        counter = "unchanged"
    setattr(outcome, counter, getattr(outcome, counter) + 1)
    return intent


def _take_in(workspace: Workspace, flag: ImportedFlag, environment: str) -> str:
    """The flag of a document onto the flag of its key."""
    sheet = workspace.flag(flag.key)
    mark = sheet.mark()
    counter = "updated"
    if not sheet.exists:
        workspace.take_place(flag.key)
        sheet.create(type_=flag.type)
        for each in workspace.view.environments:
            sheet.set_kill(each, kill=False)
        counter = "created"
    elif sheet.type != flag.type and (sheet.type, flag.type) != ("float", "integer"):
        path = pointer("", "flags", flag.key, "variants")
        raise Invalid(
            schema.FLAG, [FieldError(path, f"the flag is of type {sheet.type} and that cannot change")]
        )
    _merge_variants(workspace, sheet, flag, environment)
    mistakes = Mistakes(schema.FLAG)
    path = pointer("", "flags", flag.key)
    part = EnvironmentPatch(sheet, environment, path=path, mistakes=mistakes, new_id=_no_id)
    part.rules.clear()
    metadata: dict[str, object] = dict.fromkeys(
        sheet.names(schema.metadata_field("", environment=environment))
    )
    part.apply(
        {
            "enabled": flag.enabled,
            "default": flag.default,
            "off_variant": None,
            "targeting": None if flag.targeting is None else dict(flag.targeting),
            "metadata": metadata | dict(flag.metadata),
        }
    )
    mistakes.refuse()
    FlagChecks(workspace, flag.key, mark, path=path).refuse()
    return counter


def _merge_variants(workspace: Workspace, sheet: Sheet, flag: ImportedFlag, environment: str) -> None:
    others = [each for each in workspace.view.environments if each != environment]
    prefix = schema.variant_field("")

    def users(variant: str) -> list[str]:
        found = [user for each in others for user in users_in(sheet, each, variant)]
        found += [
            f"{each}/targeting"
            for each in others
            if variant in _literals(sheet.value(schema.environment_field(each, schema.TARGETING)))
        ]
        return found

    for name in sheet.names(prefix):
        field_name = prefix + name
        if name not in flag.variants:
            if not users(name) and not any(workspace.dependents(flag.key, name)):
                sheet.remove(field_name)
        elif not same(sheet.value(field_name), flag.variants[name]) and (used_by := users(name)):
            raise VariantInUse(name, used_by)
    for name, value in flag.variants.items():
        if not same(sheet.value(prefix + name), value):
            sheet.put(prefix + name, value)


def _drop(workspace: Workspace, key: str, environment: str) -> str:
    """A flag that the document does not name."""
    sheet = workspace.flag(key)
    if not sheet.exists:
        return "unchanged"
    elsewhere = any(_has_anything(sheet, e) for e in workspace.view.environments if e != environment)
    required = any(any(workspace.dependents(key, name)) for name in sheet.names(schema.variant_field("")))
    if not elsewhere and not required:
        sheet.delete()
        return "deleted"
    part = EnvironmentPatch(sheet, environment, path="", mistakes=Mistakes(schema.FLAG), new_id=_no_id)
    part.reset(kill=False)
    return "updated"


def _has_anything(sheet: Sheet, environment: str) -> bool:
    """Whether the flag's part of the environment is other than that of an environment that nobody has named."""
    named = (
        schema.rule_field("", environment=environment),
        schema.metadata_field("", environment=environment),
    )
    plain = (schema.ENABLED, schema.DEFAULT, schema.OFF_VARIANT, schema.TARGETING)
    return (
        sheet.is_killed(environment)
        or any(sheet.names(prefix) for prefix in named)
        or any(bool(sheet.value(schema.environment_field(environment, part))) for part in plain)
    )


def _literals(logic: object) -> set[str]:
    """Every value in raw targeting that flagd might take for the name of a variant."""
    found: set[str] = set()
    todo = [logic]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, bool):
            found.add(str(item).lower())
        elif item is not None:
            found.add(str(item))
    return found


def _alike(left: ImportedFlag, right: ImportedFlag) -> bool:
    def parts(flag: ImportedFlag) -> list[object]:
        targeting = None if flag.targeting is None else dict(flag.targeting)
        return [flag.type, dict(flag.variants), flag.default, flag.enabled, targeting, dict(flag.metadata)]

    return same(parts(left), parts(right))


def _no_id() -> str:
    raise AssertionError("an import makes no rules")
