"""P6: who comes with a token sees at every node what he has seen and written before, and builds on it.

A vector is a claim; what an answer shows is compared with what the event graph says of just that vector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.oracle import EXISTENCE, OUTSIDE, Address, Dot, Oracle
from vexil.chaos.checkers.oracle import Write as Written
from vexil.chaos.clients.operations import CONTESTED, CONTEXTS, PEOPLE, PROJECT
from vexil.chaos.run.history import Outcome, Read, Standing, Write
from vexil.chaos.world.convergence import within_reach
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import render_id
from vexil.crdt.payload import UNREADABLE
from vexil.node.engine import Engine
from vexil.sdk.documents import flag_set_document
from vexil.sdk.evaluation import evaluate
from vexil.sdk.model import FlagSet

ANSWERED: Final = "ok"
NOT_FOUND: Final = "FLAG_NOT_FOUND"
RELEASE: Final = "metadata/release"
TOLD_MAX: Final = 3
"""Changes of one answer that are told."""
Vector = Mapping[int, int]


class Sessions(Checker):
    """Follows what each client with a token has been shown, and looks at who acknowledges."""

    invariant = "P6"
    claim = "an answer to a token has all that the token has, and shows it; a write is shown by who acknowledged it"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody has seen anything."""
        super().__init__(scene, rng)
        self._seen: dict[str, dict[int, int]] = {}
        """By client, all that it was ever shown under a token, or has written."""
        self._processes: dict[str, tuple[Slot, float]] = {}
        """By slot, when its process began."""

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        self._processes[slot.name] = (slot, self.history.now_s())

    def read(self, read: Read) -> None:
        """`Checker.read`. Monotonic reads, and one's own writes among what is read."""
        if read.answer != ANSWERED:
            return
        oracle = self.graph.oracle(PROJECT)
        if read.needed:
            self._goes_on(f"a read of {read.flag}", read.client, read.slot, read.needed, read.token)
        if oracle is not None:
            self._as_its_vector_says(oracle, read)

    def followed(self, standing: Standing) -> None:
        """`Checker.followed`. A client never goes back, and what it answers is what its token says."""
        if not standing.token:
            return
        service, flag_set = standing.service, standing.flag_set
        name = f"{service.name} ({standing.life}.)"
        self._goes_on("the set that it follows", name, standing.slot or standing.source, {}, standing.token)
        oracle = self.graph.oracle(PROJECT)
        if oracle is None:
            return
        flag = CONTESTED[int(flag_set.version[:8], 16) % len(CONTESTED)]
        now_s = self.history.now_s()
        found = evaluate(flag_set, flag, CONTEXTS[PEOPLE[0]], now_s=now_s)
        read = Read(name, 0, name, flag, service.environment, now_s, now_s, ANSWERED, token=standing.token)
        read.variant, read.reason = found.variant or None, found.error_code or found.reason
        read.metadata = found.metadata
        self._as_its_vector_says(oracle, read)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`. No client lacks anything that its node has, unless it has what nobody has any more."""
        for name, standing in self.history.standings.items():
            slot = cluster.slots.get(standing.slot)
            project = None if slot is None or slot.engine is None else slot.engine.projects.get(PROJECT)
            lost = not within_reach(cluster, PROJECT, standing.token)
            if project is None or lost or self.history.forked & standing.token.keys():
                continue
            self.judged += 1
            served = project.flag_set(standing.service.environment)
            if flag_set_document(standing.flag_set) != flag_set_document(served):
                self.violate(
                    f"{name} answers from {standing.flag_set.version}, and {standing.slot}, which it follows, has "
                    f"{served.version}: {_differing(standing.flag_set, served)}"
                )

    def written(self, write: Write) -> None:
        """`Checker.written`. A write follows what its author has read and written, and is shown at once."""
        if write.outcome is not Outcome.ACKNOWLEDGED or write.dot is None:
            return
        oracle = self.graph.oracle(PROJECT)
        incarnation, seq = write.dot
        slot, began_s = self._processes[write.slot]
        attempt = write.attempts[-1]
        if slot.engine is not None and began_s < attempt.began_s and attempt.ended_s == self.history.now_s():
            self.judged += 1
            project = slot.engine.projects.get(PROJECT)
            if project is None or project.replica.known(incarnation) < seq:
                self.violate(f"{write.slot} has acknowledged {render_id(write.dot)} and does not show it")
        if write.needed:
            self._goes_on(write.what, write.client, write.slot, write.needed, write.token)
            authored = self.history.authored_on.get((PROJECT, write.key, incarnation))
            # Of several attempts the first one may have written it, with less in its hand.
            if oracle is not None and authored is not None and len(write.attempts) == 1:
                lacking = self._lacking(authored, write.needed)
                if lacking:
                    self.violate(
                        f"{write.what} was decided at {write.slot} without {lacking}, which its author had seen"
                    )

    def _goes_on(self, what: str, client: str, slot: str, needed: Vector, token: Vector) -> None:
        self.judged += 1
        seen = self._seen.setdefault(client, {})
        for incarnation, seq in needed.items():
            seen[incarnation] = max(seq, seen.get(incarnation, 0))
        lacking = self._lacking(token, seen)
        if lacking:
            self.violate(f"{client} was shown less than before by {slot}, {what}: {lacking} is missing")
        for incarnation, seq in token.items():
            seen[incarnation] = max(seq, seen.get(incarnation, 0))

    def _lacking(self, vector: Vector, wanted: Vector) -> list[str]:
        whole = self.graph.whole(PROJECT, vector)
        if self.history.forked & whole.keys():
            # Of two changes with one dot the graph knows the first, and not which of them is meant and what it ends.
            return []
        # A token may name what an evicted node wrote behind its eviction: of what has ended nobody has more.
        over = self.graph.retired(PROJECT, whole) | self.history.forked
        return [
            render_id((incarnation, seq))
            for incarnation, seq in sorted(wanted.items())
            if whole.get(incarnation, 0) < seq and incarnation not in over
        ]

    # -- what is shown is what the vector says

    def _as_its_vector_says(self, oracle: Oracle, read: Read) -> None:
        name = f"flag/{read.flag}"
        covered = self.graph.covered(PROJECT, read.token)
        if unknown := covered - oracle.events.keys():
            # A project with a fork has no oracle, and what poison has written is an event like others.
            named = sorted(map(render_id, unknown))[:TOLD_MAX]
            self.violate(
                f"{read.slot} answers {read.client} of {read.flag} with changes that nobody wrote: {named}"
            )
            return
        generations = oracle.generations(name, covered)
        if any(
            self._is_junk(w)
            for g in generations
            for w in _live(oracle, name, g.generation, EXISTENCE, covered)
        ):
            return
        self.judged += 1
        if (not generations) != (read.reason == NOT_FOUND):
            self.violate(f"{read.slot} answers {read.reason} for {read.flag}; the graph has {generations}")
            return
        if not generations:
            return
        if (
            oracle.killed(Address(name, OUTSIDE, f"kill/{read.environment}"), covered)
            and read.variant == "on"
        ):
            self.violate(
                f"{read.slot} gives {read.client} {read.flag} on in {read.environment}, and shows its kill"
            )
        release = Address(name, generations[0].generation, f"env/{read.environment}/{RELEASE}")
        if any(map(self._is_junk, oracle.survivors(release, covered).values())):
            return
        write = oracle.winner(release, covered)
        said = None if write is None else write.value
        if read.metadata.get("release") != said:
            self.violate(
                f"{read.slot} shows {read.client} release {read.metadata.get('release')!r} of {read.flag} in "
                f"{read.environment}; by the vector of the answer it is {said!r}"
            )

    def _is_junk(self, written: Written) -> bool:
        return (PROJECT, written.dot) in self.graph.junk or written.value is UNREADABLE


def _differing(ours: FlagSet, theirs: FlagSet) -> list[str]:
    """Keys of flags."""
    keys = ours.flags.keys() | theirs.flags.keys()
    return sorted(key for key in keys if ours.flags.get(key) != theirs.flags.get(key))


def _live(
    oracle: Oracle, name: str, generation: Dot, field: str, covered: Collection[Dot]
) -> Collection[Written]:
    return oracle.survivors(Address(name, generation, field), covered).values()
