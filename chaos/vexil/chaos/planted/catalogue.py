"""All planted bugs, switched-off rules and benign refactors there are: whatever lies in the folder of its kind.

A new file is all that a new one needs. A file that does not say what it plants is an error: were it passed over, a bug
could be missing from every table without anybody noticing.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Final, Protocol, TypeVar

from vexil.chaos.planted import benign, bugs, rules
from vexil.chaos.planted.benign_refactor import Benign
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.switched_off import SwitchedOff


class NotPlanted(Exception):
    """A folder of the catalogue holds something else than what belongs there, or nothing, or one thing twice."""


class Planted(Protocol):
    """What one file plants."""

    @property
    def name(self) -> str:
        """Its name; no other one of its kind has it."""

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among those of its kind."""


T = TypeVar("T", bound=Planted)


def planted_in(package: ModuleType, value: str, kind: type[T]) -> tuple[T, ...]:
    """What each module of ``package`` calls ``value``, a ``kind``, by `Planted.place`.

    Modules are found by the import system, so it is the same from a source tree, an installed wheel or an archive.
    Raises NotPlanted.
    """
    found: dict[str, T] = {}
    for _, name, _ in iter_modules(package.__path__, f"{package.__name__}."):
        planted = getattr(import_module(name), value, None)
        if not isinstance(planted, kind):
            raise NotPlanted(f"{name} has no {value} that is a {kind.__name__}")
        if planted.name in found:
            raise NotPlanted(f"{name} has a name that is taken: {planted.name!r}")
        found[planted.name] = planted
    if not found:
        raise NotPlanted(f"{package.__name__} is empty")
    return tuple(sorted(found.values(), key=lambda planted: planted.place))


PLANTED: Final = planted_in(bugs, "BUG", PlantedBug)
"""Every planted bug, by number."""
SWITCHES: Final = planted_in(rules, "SWITCH", SwitchedOff)
"""Every rule, or part of one, that can be switched off, by rule."""
BENIGN: Final = planted_in(benign, "BENIGN", Benign)
"""Every benign refactor, by name."""

RULES: Final = range(1, 13)
"""The rules of the design."""
ELSEWHERE: Final = {
    "stfence": "an evicted node loses its access to the region's store: nothing here grants or revokes it yet",
    "intent": "a snapshot on its way into a fold that a region shares: here each slot has its own",
}
"""Switches of the model that have no counterpart yet. The first comes with the Cassandra store."""
LATER: Final = {
    26: "a Cassandra timestamp from the server's clock: comes with the Cassandra store",
}
"""Numbers of known failures that nothing can be planted for yet."""
