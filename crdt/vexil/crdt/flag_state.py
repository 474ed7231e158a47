"""What one flag's cells say, in all environments: the values that ``flag_reader`` makes.

A state is what was written, as far as it can be shown, with what is wrong about it beside; ``flag_document`` says what
of it people see and what is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vexil.crdt.change import Dot
from vexil.crdt.conflicts import ConflictRecord

Values = dict[str, Any]
NO_VALUES: Final[Values] = {}
"""Shared by every state and document that has nothing to put there: never to be changed."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule as written, ``body`` without its id; ``defect`` is the kind of what keeps it from serving."""

    id: str
    body: Mapping[str, Any]
    defect: str | None = None


@dataclass(slots=True)
class EnvironmentState:
    """One environment of a flag, as written: a variant that it names may be gone.

    Treat as immutable: it is shared. Not frozen, because making a frozen one costs three times as much, and one is
    made for every environment of every flag that a change touches.
    """

    enabled: bool
    kill: bool
    default: str | None
    off_variant: str | None
    rules: tuple[RuleState, ...]
    targeting: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    targeting_wins: bool
    """Rules and targeting exclude each other; of two that met in a merge the later written serves."""
    broken: str | None
    """The kind of the defect that puts this environment on the off path."""


EMPTY_ENVIRONMENT: Final = EnvironmentState(False, False, None, None, (), None, NO_VALUES, False, None)
"""An environment without cells: off, without a value, without rules."""
KILLED_ENVIRONMENT: Final = replace(EMPTY_ENVIRONMENT, kill=True)
"""An environment in which nothing was ever written but the kill switch."""


@dataclass(slots=True)
class FlagState:
    """One flag, read from its cells. Treat it, and the mappings and sequences in it, as immutable.

    Not frozen for the reason that `EnvironmentState` is not.
    """

    key: str
    generation: Dot
    epoch: int
    type: str
    description: str
    owner: str
    archived: bool
    client_visible: bool
    tags: tuple[str, ...]
    variants: Mapping[str, Any]
    prerequisites: Mapping[str, str]
    environments: Mapping[str, EnvironmentState]
    needs_review: bool
    conflicts: tuple[ConflictRecord, ...]
    """Races: someone's write lost and is still there."""
    problems: tuple[ConflictRecord, ...]
    """Defects: a value that could not be used, or a bound that a merge went over."""
    generations: tuple[Dot, ...]
    """All that are there, the shown one first; a delete removes every one."""
    broken: str | None
    """The kind of the defect that puts the flag on the off path in every environment."""
    size_bytes: int
