"""From the JSON of a flag to edits on its sheet: RFC 7396, with sets of elements where the API says so.

Objects merge by member and ``null`` removes. ``tags`` and ``prerequisites`` (and ``rules``, in `environment_patch`)
are arrays outside and sets of elements inside: the new array is compared with what is shown. ``targeting`` and each
rule are one value in one cell and are replaced whole: merging two JsonLogic expressions by member would make a third
that nobody has written. This module looks at shapes; whether the outcome makes sense is for `flag_checks`.
"""

from __future__ import annotations

from typing import Final

from vexil.crdt.limits import VARIANTS_MAX
from vexil.crdt.schema import (
    ARCHIVED,
    CLIENT_VISIBLE,
    DESCRIPTION,
    FLAG,
    OWNER,
    PREREQUISITE,
    TAG,
    VARIANT,
    prerequisite_field,
    tag_field,
    variant_field,
)
from vexil.node.authoring.environment_patch import EnvironmentPatch
from vexil.node.authoring.json_data import Mistakes, merge_patch, pointer
from vexil.node.authoring.limits import TEXT_BYTES_MAX, refuse_over
from vexil.node.authoring.sheet import Sheet
from vexil.node.authoring.view import NewId, View

READ_ONLY: Final = frozenset(("needs_review", "conflicts", "problems"))
"""Members of a GET that say what has become of the flag: in a body they are passed over."""
MEMBERS: Final = READ_ONLY | {
    "key",
    "type",
    "description",
    "owner",
    "tags",
    "client_visible",
    "archived",
    "variants",
    "environments",
    "prerequisites",
}


class FlagPatch:
    """One patch of one flag; after `apply` the sheet has been edited, or Invalid has been raised.

    ``clears_kill`` says whether the patch takes a kill switch back.
    """

    __slots__ = ("_mistakes", "_new_id", "_sheet", "_view", "clears_kill")

    def __init__(self, view: View, sheet: Sheet, *, new_id: NewId) -> None:
        self._view = view
        self._sheet = sheet
        self._new_id = new_id
        self._mistakes = Mistakes(FLAG)
        self.clears_kill = False

    def apply(self, patch: object, path: str = "") -> None:
        """Edit the sheet. Raises Invalid with every mistake, or LimitExceeded."""
        members = self._mistakes.mapping(path, patch)
        self._mistakes.only(path, members, MEMBERS)
        for member, value in members.items():
            at = pointer(path, member)
            match member:
                case "key":
                    if value != self._sheet.name.removeprefix(f"{FLAG}/"):
                        self._mistakes.add(at, "cannot change")
                case "type":
                    if value != self._sheet.type:
                        self._mistakes.add(at, "cannot change")
                case "description" | "owner":
                    self._text(at, DESCRIPTION if member == "description" else OWNER, value)
                case "archived" | "client_visible":
                    self._boolean(at, ARCHIVED if member == "archived" else CLIENT_VISIBLE, value)
                case "tags":
                    self._tags(at, value)
                case "variants":
                    self._variants(at, value)
                case "prerequisites":
                    self._prerequisites(at, value)
                case "environments":
                    self._environments(at, value)
                case _:
                    pass
        self._mistakes.refuse()

    def _text(self, path: str, field: str, value: object) -> None:
        text = "" if value is None else value
        self._sheet.put(field, self._mistakes.text(path, text, bytes_max=TEXT_BYTES_MAX, empty=True))

    def _boolean(self, path: str, field: str, value: object) -> None:
        self._sheet.put(field, value is not None and self._mistakes.boolean(path, value))

    def _tags(self, path: str, value: object) -> None:
        sent = [] if value is None else self._mistakes.array(path, value)
        wanted = {self._mistakes.text(pointer(path, index), tag) for index, tag in enumerate(sent)}
        there = set(self._sheet.names(f"{TAG}/"))
        for tag in wanted - there:
            self._sheet.put(tag_field(tag), value=True)
        for tag in there - wanted:
            self._sheet.remove(tag_field(tag))

    def _variants(self, path: str, value: object) -> None:
        sheet = self._sheet
        there = sheet.names(f"{VARIANT}/")
        sent = dict.fromkeys(there) if value is None else self._mistakes.mapping(path, value)
        for name, item in sent.items():
            field = variant_field(name)
            if item is not None:
                self._mistakes.text(pointer(path, name), name)
                sheet.put(field, merge_patch(sheet.value(field), item))
            elif sheet.has(field):
                sheet.remove(field)
        count = len(sheet.names(f"{VARIANT}/"))
        refuse_over("variants", count, VARIANTS_MAX, before=len(there), unit="variants")

    def _prerequisites(self, path: str, value: object) -> None:
        wanted: dict[str, str] = {}
        for index, item in enumerate([] if value is None else self._mistakes.array(path, value)):
            at = pointer(path, index)
            entry = self._mistakes.mapping(at, item)
            if not isinstance(item, dict):
                continue
            self._mistakes.only(at, entry, frozenset(("flag", "variant")))
            flag = self._mistakes.text(pointer(at, "flag"), entry.get("flag"))
            if flag in wanted:
                self._mistakes.add(pointer(at, "flag"), "is named by an earlier prerequisite")
            wanted[flag] = self._mistakes.text(pointer(at, "variant"), entry.get("variant"))
        for flag in self._sheet.names(f"{PREREQUISITE}/"):
            if flag not in wanted:
                self._sheet.remove(prerequisite_field(flag))
        for flag, variant in wanted.items():
            self._sheet.put(prerequisite_field(flag), variant)

    def _environments(self, path: str, value: object) -> None:
        known = self._view.environments
        sent = dict.fromkeys(known) if value is None else self._mistakes.mapping(path, value)
        for name, patch in sent.items():
            at = pointer(path, name)
            if name not in known:
                self._mistakes.add(at, "there is no such environment")
                continue
            part = EnvironmentPatch(self._sheet, name, path=at, mistakes=self._mistakes, new_id=self._new_id)
            part.apply(patch)
            self.clears_kill = self.clears_kill or part.clears_kill
