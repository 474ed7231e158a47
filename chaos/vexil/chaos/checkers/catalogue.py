"""All checkers that watch a run, in the order of their invariants. P16, which compares two runs, is a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.event_graph import EventGraph
from vexil.chaos.checkers.p01_applied_once import AppliedOnce
from vexil.chaos.checkers.p02_equal_vectors import EqualVectors
from vexil.chaos.checkers.p03_acknowledged_is_kept import AcknowledgedIsKept
from vexil.chaos.checkers.p03_evicted_are_fenced import EvictedAreFenced
from vexil.chaos.checkers.p04_nothing_comes_back import NothingComesBack
from vexil.chaos.checkers.p05_kills_hold import KillsHold
from vexil.chaos.checkers.p06_sessions import Sessions
from vexil.chaos.checkers.p07_all_or_nothing import AllOrNothing
from vexil.chaos.checkers.p08_silence import Silence
from vexil.chaos.checkers.p09_convergence import Convergence
from vexil.chaos.checkers.p10_garbage_is_invisible import GarbageIsInvisible
from vexil.chaos.checkers.p11_dots_are_unique import DotsAreUnique
from vexil.chaos.checkers.p12_total import Total
from vexil.chaos.checkers.p13_conditions import Conditions
from vexil.chaos.checkers.p13_event_graph import AsTheGraphSays
from vexil.chaos.checkers.p13_stamps import Stamps
from vexil.chaos.checkers.p14_same_variant import SameVariant
from vexil.chaos.checkers.p15_one_bad_object import OneBadObject
from vexil.chaos.checkers.p17_honest_about_age import HonestAboutAge
from vexil.chaos.checkers.p18_spread import Spread
from vexil.chaos.checkers.views import Views
from vexil.chaos.run.history import History
from vexil.chaos.run.plan import Plan
from vexil.chaos.world.determinism import Streams

CHECKERS: Final[tuple[type[Checker], ...]] = (
    AppliedOnce,
    EqualVectors,
    AcknowledgedIsKept,
    EvictedAreFenced,
    NothingComesBack,
    KillsHold,
    Sessions,
    AllOrNothing,
    Silence,
    Convergence,
    GarbageIsInvisible,
    DotsAreUnique,
    Total,
    AsTheGraphSays,
    Conditions,
    Stamps,
    SameVariant,
    OneBadObject,
    HonestAboutAge,
    Spread,
)


def all_checkers(history: History, plan: Plan, streams: Streams) -> Sequence[Checker]:
    """One of each, for one run; each draws from a stream of its own."""
    scene = Scene(history, plan, EventGraph(history), Views())
    return [kind(scene, streams.stream("checker", kind.__name__)) for kind in CHECKERS]
