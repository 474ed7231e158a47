"""Everything that can be planted, by the name that it has on a command line and in an artefact."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from functools import cache

from vexil.chaos.planted.benign_refactor import Benign
from vexil.chaos.planted.catalogue import BENIGN, PLANTED, SWITCHES
from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.chaos.planted.switched_off import SwitchedOff

Mutant = PlantedBug | SwitchedOff | Benign


class Unplantable(Exception):
    """Nothing has that name; the message names what was probably meant."""


@cache
def mutants() -> dict[str, Mutant]:
    """All there are, in the order of the catalogues."""
    everything: tuple[Mutant, ...] = (*PLANTED, *SWITCHES, *BENIGN)
    found = {str(mutant): mutant for mutant in everything}
    assert len(found) == len(everything), "two of them have one name"
    return found


def find(name: str) -> Mutant:
    """The one of that name. Raises Unplantable."""
    try:
        return mutants()[name]
    except KeyError:
        meant = ", ".join(get_close_matches(name, mutants(), n=3, cutoff=0.4))
        raise Unplantable(f"nothing is called {name!r}{'; there is ' if meant else ''}{meant}") from None


def expected(mutant: Mutant) -> frozenset[str]:
    """The invariants that should notice it; empty: it is not known which."""
    return mutant.invariants if isinstance(mutant, PlantedBug) else frozenset()


def what_it_does(mutant: Mutant) -> str:
    """In a sentence: the first line of its file."""
    documentation = sys.modules[mutant.apply.__module__].__doc__ or ""
    return documentation.strip().partition("\n")[0]
