"""Reading a flag: cells in, ``FlagState`` out.

Total and pure: any cells and any junk in them give a state, every node reads the same from equal cells, and nothing
depends on what was read before or on the order in which cells or lanes arrived. A value that cannot be used is
replaced by a safe one and recorded. Which one is safe goes by what it is: a bad rule is skipped; what cannot be
understood without its bad part, a flag or one environment of it, is ``broken`` and goes on the off path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from sys import intern
from typing import Final, NamedTuple

from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.cell_reader import CellReader, read_existence
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.conflicts import (
    DANGLING_VARIANT,
    LIMIT_FLAG_BYTES,
    LIMIT_RULES,
    LIMIT_VARIANTS,
    RULES_AND_TARGETING,
    ConflictRecord,
    in_order,
    record,
)
from vexil.crdt.flag_document import content
from vexil.crdt.flag_state import (
    EMPTY_ENVIRONMENT,
    KILLED_ENVIRONMENT,
    NO_VALUES,
    EnvironmentState,
    FlagState,
    RuleState,
    Values,
)
from vexil.crdt.generation import Cells, Existence, Fields, concurrent_create, visible
from vexil.crdt.limits import FLAG_BYTES_MAX, RULES_MAX, VARIANTS_MAX
from vexil.crdt.payload import decode
from vexil.crdt.policy import MISSING, Policy, latest
from vexil.crdt.rule_order import ordered
from vexil.crdt.validity import (
    FLAG_TYPES,
    rule_defect,
    scalar_defect,
    targeting_defect,
    variant_defect,
    wrong,
)

# Read once per cell: a member of an enumeration costs more to look up than the comparison.
_LWW: Final = Policy.LWW
_OPAQUE: Final = Policy.OPAQUE
_GENERATION: Final = Policy.GENERATION


def read_flag(key: str, cells: Cells, environments: Sequence[str]) -> FlagState | None:
    """The flag ``key`` as its cells say, in ``environments`` and no others; None if there is none.

    Never raises, whatever the payloads hold. ``environments`` keeps its order; one without cells is there, and off.
    """
    found = visible(cells)
    if not found:
        return None
    name = schema.flag_object(key)
    kills = NO_KILLS
    if NO_GENERATION in cells:
        switches = CellReader(name, NO_GENERATION, cells[NO_GENERATION])
        kills = Kills(switches.killed_in(environments), switches.races, switches.defects)
    state = _read_generation(key, name, cells, found[0], environments, kills)
    if len(found) == 1:
        return state
    others = [_read_generation(key, name, cells, existence, environments, kills) for existence in found[1:]]
    return _beside(state, others, found)


def switches_among(fields: Iterable[str]) -> Mapping[str, str] | None:
    """The environments whose switch is among ``fields``, by field; None if there is more, or nothing, among them.

    Existence, which every edit writes anew, is passed over.
    """
    switches = {}
    written = None
    for written in fields:
        if written != schema.EXISTS and written not in switches:
            part, _, environment, _ = schema.flag_field(written)
            if part != schema.ENABLED or environment is None:
                return None
            switches[written] = environment
    return None if written is None else switches


class Switched(NamedTuple):
    """What a change that did no more than switch environments on or off has made of a flag."""

    type: str
    enabled: Mapping[str, bool]


def read_switches(cells: Cells, switches: Mapping[str, str]) -> Switched | None:
    """What ``switches`` of a flag say, if nothing else that is read of it can be another now; None: read all of it.

    Only for a flag without conflicts and problems of which nothing else but its existence was written since it was
    read. Most changes of most flags are switches, and reading one takes a third of the time of reading the flag.
    """
    if len(cells) != 1 or NO_GENERATION in cells:
        return None
    ((generation, packed),) = cells.items()
    found = visible(cells)
    # At least what `FlagReader` counts: a flag over its limit is no flag whose switch may be flipped.
    size_bytes = sum(map(len, packed)) + sum(map(len, packed.values()))
    if not found or len(found[0].lanes) != 1 or size_bytes > FLAG_BYTES_MAX:
        return None
    reader = CellReader("", generation, packed)
    enabled = {}
    for field, environment in switches.items():
        value = reader.value(field, packed[field], _LWW, environment)
        if not isinstance(value, bool) or reader.races:
            return None
        enabled[environment] = value
    return Switched(found[0].type, enabled)


class Kills(NamedTuple):
    """The kill switches of a flag, which belong to no generation."""

    environments: frozenset[str]
    races: list[ConflictRecord]
    defects: list[ConflictRecord]


NO_KILLS: Final = Kills(frozenset(), [], [])


def _read_generation(
    key: str,
    name: str,
    cells: Cells,
    existence: Existence,
    environments: Sequence[str],
    kills: Kills,
) -> FlagState:
    flag_type = existence.type
    reader = FlagReader(name, existence.generation, cells[existence.generation], environments, flag_type)
    if flag_type not in FLAG_TYPES:
        reader.break_flag(wrong(decode(existence.winner.payload).value), schema.EXISTS)
    review = read_existence(reader, existence)
    # The first reading may find a reason to break the flag, so it comes before the state is put together.
    prerequisites = reader.prerequisites()
    return FlagState(
        key,
        existence.generation,
        existence.epoch,
        flag_type,
        reader.text(schema.DESCRIPTION),
        reader.text(schema.OWNER),
        reader.boolean(schema.ARCHIVED),
        reader.boolean(schema.CLIENT_VISIBLE),
        reader.tags(),
        reader.variants,
        prerequisites,
        {
            environment: reader.environment(environment, kill=environment in kills.environments)
            for environment in environments
        },
        review,
        in_order(kills.races + reader.races),
        in_order(kills.defects + reader.defects),
        (existence.generation,),
        reader.broken,
        reader.size_bytes,
    )


def _beside(state: FlagState, others: Iterable[FlagState], found: Sequence[Existence]) -> FlagState:
    """``state`` beside other generations of its key: a conflict unless all of them say the same."""
    contents = [content(state), *map(content, others)]
    conflicts = state.conflicts
    first = json.dumps(contents[0], sort_keys=True)
    if any(json.dumps(other, sort_keys=True) != first for other in contents[1:]):
        conflicts = in_order([*conflicts, concurrent_create(schema.flag_object(state.key), found, contents)])
    return replace(state, conflicts=conflicts, generations=tuple(existence.generation for existence in found))


class FlagReader(CellReader):
    """Reads one generation of a flag; environments that are not asked for are not looked at."""

    __slots__ = ("broken", "environments", "values", "variants")

    def __init__(
        self, name: str, generation: Dot, fields: Fields, environments: Sequence[str], flag_type: str
    ) -> None:
        """Sort the values of every cell by what they belong to."""
        super().__init__(name, generation, fields)
        self.broken: str | None = None
        self.values: Values = {}
        self.environments: dict[str, Values | None] = dict.fromkeys(environments)
        self._sort_values()
        self.variants = self._variants(flag_type)
        if self.size_bytes > FLAG_BYTES_MAX:
            self.break_flag(LIMIT_FLAG_BYTES, schema.EXISTS)

    def _sort_values(self) -> None:
        parse = schema.flag_field
        for field, packed in self.fields.items():
            part, policy, environment, name = parse(field)
            if policy is _OPAQUE or policy is _GENERATION:
                continue
            if environment is None:
                values: Values | None = self.values
            elif environment in self.environments:
                values = self.environments[environment]
            else:
                continue
            value = self.value(field, packed, policy, environment)
            if value is MISSING:
                continue
            if values is None:
                values = self.environments[environment] = {}  # type: ignore[index]
            if policy is _LWW:
                values[part] = value
            elif (named := values.get(part)) is not None:
                named[name] = value
            else:
                values[part] = {name: value}

    def break_flag(self, kind: str, field: str) -> None:
        """Put the whole flag on the off path; the first reason is the one that is told."""
        self.defect(kind, field)
        self.broken = self.broken or kind

    def text(self, part: str) -> str:
        """A plain text field of the flag."""
        value = self.values.get(part, "")
        if isinstance(value, str):
            return value
        self.defect(wrong(value), part)
        return ""

    def boolean(self, part: str) -> bool:
        """A plain boolean field of the flag; False is the safe value of all of them."""
        value = self.values.get(part, False)
        if isinstance(value, bool):
            return value
        self.defect(wrong(value), part)
        return False

    def tags(self) -> tuple[str, ...]:
        """The tags, sorted."""
        return tuple(sorted(self.values.get(schema.TAG, ())))

    def prerequisites(self) -> Mapping[str, str]:
        """Flag to variant, sorted by flag. One that cannot be read cannot be met: the flag goes off."""
        named = self.values.get(schema.PREREQUISITE)
        if named is None:
            return NO_VALUES
        prerequisites = {}
        for flag in sorted(named):
            variant = named[flag]
            if isinstance(variant, str):
                prerequisites[flag] = variant
            else:
                self.break_flag(wrong(variant), schema.prerequisite_field(flag))
        return prerequisites

    def _variants(self, flag_type: str) -> Values:
        named = self.values.get(schema.VARIANT)
        if named is None:
            return NO_VALUES
        variants = {}
        for name in sorted(named):
            value = named[name]
            defect = variant_defect(flag_type, value)
            if defect is None:
                variants[name] = float(value) if flag_type == "float" else value
            elif flag_type in FLAG_TYPES:
                self.defect(defect, schema.variant_field(name))
        if len(named) > VARIANTS_MAX:
            self.break_flag(LIMIT_VARIANTS, schema.EXISTS)
        return variants

    def environment(self, environment: str, *, kill: bool) -> EnvironmentState:
        """One environment of the flag."""
        values = self.environments[environment]
        if values is None:
            return KILLED_ENVIRONMENT if kill else EMPTY_ENVIRONMENT
        enabled = values.get(schema.ENABLED, False)
        if not isinstance(enabled, bool):
            self.defect(wrong(enabled), schema.environment_field(environment, schema.ENABLED), environment)
            enabled = False
        broken = None
        rules: tuple[RuleState, ...] = ()
        if schema.RULE in values:
            rules = self._rules(environment, values)
            if len(values[schema.RULE]) > RULES_MAX:
                broken = LIMIT_RULES
                self.defect(broken, schema.environment_field(environment, schema.ORDER), environment)
        targeting = values.get(schema.TARGETING)
        if targeting is not None and (defect := targeting_defect(targeting)) is not None:
            self.defect(defect, schema.environment_field(environment, schema.TARGETING), environment)
            broken = broken or defect
            targeting = None
        return EnvironmentState(
            enabled,
            kill,
            self._variant_name(environment, values, schema.DEFAULT),
            self._variant_name(environment, values, schema.OFF_VARIANT),
            rules,
            targeting,
            self._metadata(environment, values) if schema.METADATA in values else NO_VALUES,
            bool(targeting) and (not rules or self._targeting_is_later(environment, values)),
            broken,
        )

    def _variant_name(self, environment: str, values: Values, part: str) -> str | None:
        name = values.get(part)
        if name is None:
            return None
        if isinstance(name, str):
            if name not in self.variants:
                self.defect(DANGLING_VARIANT, schema.environment_field(environment, part), environment)
            return intern(name)
        self.defect(wrong(name), schema.environment_field(environment, part), environment)
        return None

    def _metadata(self, environment: str, values: Values) -> Values:
        metadata = {}
        named = values[schema.METADATA]
        for name in sorted(named):
            defect = scalar_defect(named[name])
            if defect is None:
                metadata[name] = named[name]
            else:
                self.defect(defect, schema.metadata_field(name, environment=environment), environment)
        return metadata

    def _rules(self, environment: str, values: Values) -> tuple[RuleState, ...]:
        bodies = values[schema.RULE]
        order = values.get(schema.ORDER)
        if order is not None and not isinstance(order, list):
            self.defect(wrong(order), schema.environment_field(environment, schema.ORDER), environment)
        rules = []
        for rule_id in ordered(bodies, order):
            body = bodies[rule_id]
            defect = rule_defect(body, self.variants)
            if defect is not None:
                self.defect(defect, schema.rule_field(rule_id, environment=environment), environment)
            if defect in _SHOWABLE_DEFECTS:
                rules.append(RuleState(rule_id, body, defect))
        return tuple(rules)

    def _targeting_is_later(self, environment: str, values: Values) -> bool:
        """Both are there: record it, and say whether the targeting was written after every rule."""
        field = schema.environment_field(environment, schema.TARGETING)
        of_targeting = live(self.fields[field])
        lanes = list(of_targeting)
        for rule_id in sorted(values[schema.RULE]):
            lanes += live(self.fields[schema.rule_field(rule_id, environment=environment)])
        winner = latest(lanes)
        self.races.append(
            record(
                RULES_AND_TARGETING,
                self.name,
                self.generation,
                field,
                lanes=lanes,
                winner=winner,
                environment=environment,
                path=(RULES_AND_TARGETING,),
            )
        )
        return winner == latest(of_targeting)


# A rule that refers to a variant that is gone is shown, so that it can be mended; one that is no rule is not.
_SHOWABLE_DEFECTS: Final = (None, DANGLING_VARIANT)
