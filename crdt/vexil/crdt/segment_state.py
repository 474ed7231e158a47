"""A segment: a named set of people, by membership or by rules, any match.

Members have a cell each, up to a million of them, so whoever keeps a live set follows it cell by cell with
``update_members`` and reads the whole segment only when another generation is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.cell import has_value
from vexil.crdt.cell_reader import CellReader, read_existence
from vexil.crdt.change import Dot
from vexil.crdt.conflicts import LIMIT_RULES, LIMIT_SEGMENT_MEMBERS, ConflictRecord, in_order
from vexil.crdt.flag_document import summary
from vexil.crdt.flag_state import RuleState
from vexil.crdt.generation import Cells, Existence, concurrent_create, shown_generation, visible
from vexil.crdt.limits import RULES_MAX, SEGMENT_MEMBERS_MAX
from vexil.crdt.policy import MISSING, Policy
from vexil.crdt.rule_order import ordered
from vexil.crdt.validity import members_of, segment_rule_defect, wrong

_RULE_MEMBERS: Final = ("description", "if")
_RULE_MEMBERS_SERVED: Final = ("if",)


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment, read from its cells. ``members`` is the reader's own set, which ``update_members`` may follow."""

    key: str
    generation: Dot
    epoch: int
    description: str
    members: set[str]
    rules: tuple[RuleState, ...]
    needs_review: bool
    conflicts: tuple[ConflictRecord, ...]
    problems: tuple[ConflictRecord, ...]
    generations: tuple[Dot, ...]
    rules_broken: str | None
    """The kind of the defect for which no rule is served."""


def read_segment(key: str, cells: Cells) -> SegmentState | None:
    """The segment ``key`` as its cells say; None if there is none. Never raises, whatever the payloads hold."""
    found = visible(cells)
    if not found:
        return None
    state = _read_generation(key, cells, found[0])
    if len(found) == 1:
        return state
    contents = [_content(state)]
    contents += (_content(_read_generation(key, cells, existence)) for existence in found[1:])
    conflicts = state.conflicts
    if any(not _same(other, contents[0]) for other in contents[1:]):
        # How many, not who: a million members are too many for a list of conflicts.
        shown = [{**content, "members": len(content["members"])} for content in contents]
        conflicts = in_order([*conflicts, concurrent_create(schema.segment_object(key), found, shown)])
    return replace(state, conflicts=conflicts, generations=tuple(existence.generation for existence in found))


def _read_generation(key: str, cells: Cells, existence: Existence) -> SegmentState:
    reader = CellReader(schema.segment_object(key), existence.generation, cells[existence.generation])
    review = read_existence(reader, existence)
    members, values = _values(reader)
    if len(members) > SEGMENT_MEMBERS_MAX:
        # Recorded, and served all the same: the memory that the bound protects is spent by the cells already, and
        # to leave members out would change the answer for people whom nobody has touched.
        reader.defect(LIMIT_SEGMENT_MEMBERS, schema.EXISTS)
    description = values.get(schema.DESCRIPTION, "")
    if not isinstance(description, str):
        reader.defect(wrong(description), schema.DESCRIPTION)
        description = ""
    bodies = values.get(schema.RULE, {})
    rules = _rules(reader, bodies, values.get(schema.ORDER))
    rules_broken = None
    if len(bodies) > RULES_MAX:
        rules_broken = LIMIT_RULES
        reader.defect(rules_broken, schema.EXISTS)
    return SegmentState(
        key,
        existence.generation,
        existence.epoch,
        description,
        members,
        rules,
        review,
        in_order(reader.races),
        in_order(reader.defects),
        (existence.generation,),
        rules_broken,
    )


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    # As text, the rules: in Python 1 equals True.
    return (
        left["members"] == right["members"]
        and left["description"] == right["description"]
        and json.dumps(left["rules"], sort_keys=True) == json.dumps(right["rules"], sort_keys=True)
    )


def _content(state: SegmentState) -> dict[str, Any]:
    rules = [{"id": rule.id, **members_of(rule.body, _RULE_MEMBERS)} for rule in state.rules]
    return {"description": state.description, "members": state.members, "rules": rules}


def update_members(members: set[str], cells: Cells, *, shown: Dot, fields: Iterable[str]) -> bool:
    """Bring ``members``, the live set of the generation ``shown``, up to date with the touched ``fields`` of it.

    Returns False, having changed nothing, if another generation (or none) is shown by now: read the segment again.
    Fields that are not members are skipped, and so are fields of other generations if the caller passes them.
    """
    if shown_generation(cells) != shown:
        return False
    packed = cells[shown]
    for field in fields:
        if field.startswith(schema.MEMBER_PREFIX) and field in packed:
            member = field[len(schema.MEMBER_PREFIX) :]
            if has_value(packed[field]):
                members.add(member)
            else:
                members.discard(member)
    return True


def segment_document(state: SegmentState) -> dict[str, Any]:
    """What is evaluated. ``members`` is the state's own set: replace the document when it changes."""
    return {
        "members": state.members,
        "rules": []
        if state.rules_broken
        else [
            {"id": rule.id, **members_of(rule.body, _RULE_MEMBERS_SERVED)}
            for rule in state.rules
            if rule.defect is None
        ],
    }


def describe_segment(state: SegmentState) -> dict[str, Any]:
    """The segment as the admin API shows it, members sorted."""
    return {
        "key": state.key,
        **_content(state),
        "members": sorted(state.members),
        "needs_review": state.needs_review,
        "conflicts": [summary(record) for record in (*state.conflicts, *state.problems)],
    }


def _values(reader: CellReader) -> tuple[set[str], dict[str, Any]]:
    members = set()
    values: dict[str, Any] = {}
    prefix = schema.MEMBER_PREFIX
    for field, packed in reader.fields.items():
        # Almost all of a segment's cells are members: they are told by their prefix, not by parsing.
        if field.startswith(prefix):
            if reader.value(field, packed, Policy.ELEMENT) is not MISSING:
                members.add(field[len(prefix) :])
            continue
        parsed = schema.parse_field(schema.SEGMENT, reader.generation, field)
        if parsed.policy is Policy.OPAQUE or parsed.policy is Policy.GENERATION:
            continue
        value = reader.value(field, packed, parsed.policy)
        if value is MISSING:
            continue
        if parsed.policy is Policy.ENTRY:
            values.setdefault(parsed.part, {})[parsed.name] = value
        else:
            values[parsed.part] = value
    return members, values


def _rules(reader: CellReader, bodies: Mapping[str, Any], order: object) -> tuple[RuleState, ...]:
    if order is not None and not isinstance(order, list):
        reader.defect(wrong(order), schema.ORDER)
    rules = []
    for rule_id in ordered(bodies, order):
        defect = segment_rule_defect(bodies[rule_id])
        if defect is None and not isinstance(bodies[rule_id].get("description", ""), str):
            defect = wrong(bodies[rule_id]["description"])
        if defect is None:
            rules.append(RuleState(rule_id, bodies[rule_id]))
        else:
            reader.defect(defect, schema.rule_field(rule_id))
    return tuple(rules)
