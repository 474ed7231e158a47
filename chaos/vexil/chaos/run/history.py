"""What happened in one run, told by events and never read from the product's own summaries.

Every change that any node applied, who wrote it and what its author's node had at that moment; every request of every
client with what it was told; when what was broken. Checkers, measures and the timeline are questions to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from vexil.chaos.run.plan import Fault, Service
from vexil.crdt.change import Change, Dot
from vexil.sdk.model import FlagSet

VIOLATIONS_KEPT_MAX: Final = 20
EVENTS_KEPT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant of DESIGN.md section 9 that did not hold, at a virtual time."""

    invariant: str
    detail: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.detail}"


class Outcome(Enum):
    """What a client knows of its write."""

    UNKNOWN = auto()
    ACKNOWLEDGED = auto()
    NOTHING_TO_WRITE = auto()
    REFUSED = auto()
    """Definitely not written."""


@dataclass(slots=True)
class Attempt:
    """One request to one node."""

    slot: str
    began_s: float
    ended_s: float | None = None
    answer: str = ""
    """``ok``, the code of an error, or ``none``: nothing was heard."""


@dataclass(slots=True)
class Write:
    """One write of one client, over all of its tries; the key tells its changes from those of others."""

    key: str
    what: str
    client: str = ""
    number: int = 0
    """Of its operation."""
    outcome: Outcome = Outcome.UNKNOWN
    dot: Dot | None = None
    """As soon as any answer has named it."""
    slot: str = ""
    """Who was asked last."""
    durability: str = ""
    """What the acknowledgement claimed."""
    acknowledged_s: float | None = None
    needed: Mapping[int, int] = field(default_factory=dict)
    """The token that the client had, for a session."""
    token: Mapping[int, int] = field(default_factory=dict)
    """The token that it was given."""
    attempts: list[Attempt] = field(default_factory=list)
    condition: Mapping[int, int] | None = None
    """What was known where its ``If-Match`` was read, retired incarnations among it; None without one."""


@dataclass(slots=True)
class Read:
    """One read of one flag by one client; ``value`` is None if nothing was heard.

    Flags that were read in one request have equal ``client``, ``number`` and ``began_s``: they are as of one moment.
    """

    client: str
    number: int
    slot: str
    flag: str
    environment: str
    began_s: float
    ended_s: float
    answer: str
    """``ok``; ``stale``: the node was behind the token, and no value was taken; else as in `Attempt`."""
    needed: Mapping[int, int] = field(default_factory=dict)
    """The token that came with the request."""
    token: Mapping[int, int] = field(default_factory=dict)
    """The vector of what was read."""
    value: Any = None
    variant: str | None = None
    reason: str = ""
    """Or the code of the error that the evaluation ended in."""
    context: str = ""
    """For whom: one of `vexil.chaos.clients.operations.PEOPLE`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Standing:
    """How a service with the SDK stands: what its client answers from, and what it says of itself."""

    service: Service
    life: int = 0
    """Which of its processes it is, from 1; 0: none has begun."""
    flag_set: FlagSet = field(default_factory=FlagSet)
    token: Mapping[int, int] = field(default_factory=dict)
    """The vector of the set; empty if it has none."""
    source: str = "none"
    slot: str = ""
    """The node that has confirmed the set last."""
    stale_since_s: float | None = None
    """By its own clock, which shows virtual time; None: it says that nothing newer is known of."""
    stale_regions: tuple[str, ...] = ()
    error: str = ""
    heard_s: float = 0.0
    """When bytes of a node came last."""

    @property
    def ready(self) -> bool:
        """Whether it has anything to answer from."""
        return self.source != "none"

    @property
    def healthy(self) -> bool:
        """Whether it says of itself that it answers from what is newest."""
        return self.ready and self.stale_since_s is None


@dataclass(slots=True)
class Window:
    """A fault while it lasted."""

    fault: Fault
    began_s: float
    ended_s: float | None = None


@dataclass(slots=True)
class Life:
    """One process, from its start to its end."""

    slot: str
    region: str
    incarnation: int
    began_s: float
    ready_s: float | None = None
    """When it began to serve."""
    ended_s: float | None = None
    """None: it was alive at the end of the run."""
    how: str = ""
    """What ended it: ``crash``, ``stop`` or ``error``."""
    registration: str = ""
    """Under which it was, or wanted to be, a member; "" until it is ready or has ended."""


@dataclass(frozen=True, slots=True)
class Destruction:
    """A fault has destroyed the disk of a place, and what was laid aside there."""

    at_s: float
    slot: str
    member: str
    """What its processes call themselves: a copy is one more place of its original."""
    gone: Mapping[str, frozenset[Dot]]
    """Per project what is safe nowhere from then on."""


@dataclass(slots=True)
class Absence:
    """A slot that has lost a change which it once had; ``until_s`` is None if it never got it again."""

    project: str
    dot: Dot
    slot: str
    since_s: float
    """When the process that lacks it had loaded."""
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    at_s: float
    place: str
    """A node, a client, or nothing for the whole cluster."""
    kind: str
    text: str


LOG_CUT: Final = "log_shortened"
"""The fault by which logs no longer reach back."""


@dataclass(slots=True)
class History:
    """All that happened in one run."""

    now_s: Callable[[], float]
    changes: dict[str, dict[Dot, Change]] = field(default_factory=dict)
    """Per project every change that any node has applied, or found in its journal, in the order of first meeting."""
    applied_s: dict[tuple[str, Dot], dict[str, float]] = field(default_factory=dict)
    """By project and dot: when each slot had it first."""
    authored_on: dict[tuple[str, str, int], dict[int, int]] = field(default_factory=dict)
    """Project, idempotency key and incarnation to the vector of that process, when it decided on the write."""
    absences: list[Absence] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    """Every process that ever ran, in the order of their starts."""
    authors: dict[int, Life] = field(default_factory=dict)
    """By incarnation the first process that went by it: one that meets its own copy takes another one as it goes."""
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)
    """How each service with the SDK stands now, by its name."""
    windows: list[Window] = field(default_factory=list)
    destroyed: dict[str, set[Dot]] = field(default_factory=dict)
    """Per project: changes that were only on disks which a fault has destroyed."""
    destructions: list[Destruction] = field(default_factory=list)
    """Of which `destroyed` is the sum, in their order."""
    ended: dict[tuple[str, str], float] = field(default_factory=dict)
    """By slot and registration, from when it is known to be over: it was evicted, or the slot has begun anew."""
    forked: set[int] = field(default_factory=set)
    """Incarnations under which two processes, or two changes of one dot, were met."""
    began_s: float = 0.0
    """When the work began."""
    frozen_s: float | None = None
    """When the faults had ended: all is mended, and every node is ready and a member."""
    answered_s: float | None = None
    """When every client was done after that, too: from then on the bound of P9 is counted."""
    converged_s: float | None = None
    alarms: list[tuple[str, str, str]] = field(default_factory=list)
    """Slot, kind, detail."""
    expected_alarms: set[str] = field(default_factory=set)
    """Kinds of alarms that are explained by what is done, beside those that the kinds of faults explain."""
    harm: list[Fault] = field(default_factory=list)
    """Faults of kinds that explain alarms, from the moment on in which the harm was done."""
    fired: Counter[str] = field(default_factory=Counter)
    """How often each kind of fault has struck."""
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By fault and protocol step: how often a fault struck a process that was in the midst of that step."""
    events: list[Event] = field(default_factory=list)
    events_left_out: int = 0
    """Later ones, of which only the number is kept."""
    violations: list[Violation] = field(default_factory=list)
    on_violation: Callable[[], None] = lambda: None

    def over_s(self, attempt: Attempt) -> float | None:
        """When it was over; None if it was not before the run itself, which ends with the first violation."""
        if self.violations and attempt.answer in {"", "none"} and attempt.ended_s == self.violations[0].at_s:
            return None
        return attempt.ended_s

    def registration_ended_s(self, dot: Dot) -> float | None:
        """When the registration ended under which a change was written; None if it has not, or nobody knows of one."""
        life = self.authors.get(dot[0])
        return None if life is None else self.ended.get((life.slot, life.registration))

    @property
    def may_stay_apart(self) -> bool:
        """Whether a node on the other branch of a fork may be behind for good, until a person ends one of them.

        States of two branches are not joined, and shortened logs may not reach back.
        """
        return bool(self.forked) and LOG_CUT in self.fired

    def violate(self, invariant: str, detail: str) -> None:
        """Something that must hold does not."""
        if len(self.violations) < VIOLATIONS_KEPT_MAX:
            self.violations.append(Violation(invariant, detail, self.now_s()))
        self.on_violation()

    def tell(self, place: str, kind: str, text: str) -> None:
        """One more line of the timeline."""
        if len(self.events) < EVENTS_KEPT_MAX:
            self.events.append(Event(self.now_s(), place, kind, text))
        else:
            self.events_left_out += 1


def requests_of(reads: Sequence[Read]) -> list[list[Read]]:
    """Reads that were one request, together."""
    found: dict[object, list[Read]] = {}
    for read in reads:
        found.setdefault((read.client, read.number, read.began_s), []).append(read)
    return list(found.values())
