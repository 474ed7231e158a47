"""Clients that work through a plan's operations, each one thing after another, through whatever node they reach.

Each write has an idempotency key and is tried again while its outcome is unknown: at any node if an answer has named
the change, else at the node that was asked first, as long as that has the disk that it had: who has not heard a name
has no other promise. A client's role says how it goes about it:

=========== =========================================================================================
``admin``   a person: no token, edits
``session`` has a token and moves to another node with every step, and whenever one does not answer
``reader``  reads at the nodes of its region, without a token
``script``  sends every key twice at once, and again, here and elsewhere, when it has long succeeded
=========== =========================================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, Protocol

import trio

from vexil.chaos.clients import wishes
from vexil.chaos.clients.operations import CONTESTED, ENVIRONMENTS, PAIR, PEOPLE, PROJECT, READS, SOFT
from vexil.chaos.clients.requests import NO_ANSWER, NOBODY_THERE, OK, Answer, Requests, Terms
from vexil.chaos.clients.wishes import Wish
from vexil.chaos.run.history import LOG_CUT, History, Outcome, Read, Write
from vexil.chaos.run.plan import Client, Operation, Plan
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Dot
from vexil.node.authoring.intent import Intent
from vexil.node.project import Project

TRIES_MAX: Final = 16
PAUSE_S: Final = (0.05, 0.5)
"""Between two tries."""
REFUSALS_MAX: Final = 3
"""How often a client is put off before it gives up."""
PUT_OFF: Final = frozenset(("node.not_ready", "rate.limited", "token.behind"))
"""Refusals that say: not here and now."""
NOT_AGAIN: Final = PUT_OFF | {"durability.unavailable", "project.not_found"}
"""What a node may say to a retry of what has succeeded elsewhere."""
READ_TRIES_MAX: Final = 3
LOOKS_MAX: Final = 3
ELSEWHERE: Final = 0.5
"""How often a client goes to another node with what it has looked at."""
INSISTS_MAX: Final = 3
"""How often a script sends something again when a write has succeeded: that one, or one of a while ago."""
DONE_KEPT: Final = 20
HERD_MAX: Final = 500
HERD_READS: Final = 0.7
"""How much of a herd only reads."""


class Listener(Protocol):
    """Who is told what clients were told: the checkers."""

    def written(self, write: Write) -> None:
        """A write has been acknowledged, or refused for good."""

    def read(self, read: Read) -> None:
        """A client has read, or has heard nothing."""


class Worker:
    """One client while it works."""

    def __init__(
        self, client: Client, cluster: SimulatedCluster, history: History, listener: Listener
    ) -> None:
        """Nothing has been asked for yet."""
        self.client = client
        self.token: Mapping[int, int] = {}
        """Of a session: what it has seen."""
        self._cluster = cluster
        self._history = history
        self._listener = listener
        self._requests = Requests(cluster, history)
        self._before = ""
        """Who was asked last."""
        self._done: deque[tuple[Write, Callable[[Project], Intent]]] = deque(maxlen=DONE_KEPT)
        """Of a script: what has succeeded, and is sent again."""

    async def work(self, todo: tuple[Operation, ...], until_s: float) -> None:
        """Do it, and see the last thing through; what is not begun by ``until_s`` is left."""
        for operation in todo:
            await trio.sleep_until(self._history.began_s + operation.at_s)
            if trio.current_time() > until_s:
                return
            await self.do(operation)

    async def do(self, operation: Operation) -> None:
        """One thing that it wants."""
        rng = self._cluster.streams.stream("operation", operation.number)
        if operation.kind in READS:
            await self.read(operation, rng)
        else:
            await self.write(operation, wishes.wish(operation, rng), rng)

    # -- reads

    async def read(self, operation: Operation, rng: Random) -> None:
        """One flag, or all that are edited hard; a session tries elsewhere if it gets no answer, or an old one."""
        flags = (operation.flag,) if operation.kind == "read" else (*CONTESTED, *PAIR)
        person = rng.choice(PEOPLE)
        for _ in range(READ_TRIES_MAX if self._moves else 1):
            if await self._read_once(operation, flags, person, rng):
                return
            await trio.sleep(rng.uniform(*PAUSE_S))

    async def _read_once(
        self, operation: Operation, flags: tuple[str, ...], person: str, rng: Random
    ) -> bool:
        slot, terms = self._choose(rng), self._requests.terms(self.client, rng, self.token)
        if slot is None:
            now_s = trio.current_time()
            rows = [
                Read(
                    self.client.name,
                    operation.number,
                    "",
                    flag,
                    operation.environment,
                    now_s,
                    now_s,
                    NO_ANSWER,
                    needed=terms.needed,
                    context=person,
                )
                for flag in flags
            ]
            self._history.reads += rows
        else:
            self._before = slot.name
            rows = await self._requests.read(slot, operation, flags, person, terms)
        for row in rows:
            self._listener.read(row)
        if rows[0].answer != OK:
            return False
        self._took(rows[0].token)
        return True

    # -- writes

    async def write(self, operation: Operation, wish: Wish, rng: Random) -> Write | None:
        """One write with all its retries; its outcome may stay unknown if no node answers for long.

        None if it had to be looked at first and nobody showed it: then nothing was asked for.
        """
        looked: Any = None
        condition = None
        if wish.look is not None:
            seen = await self._look(operation, wish.look, rng)
            if seen is None:
                return None
            looked, condition = seen

        def decide(view: Project) -> Intent:
            return wish.decide(view, looked)

        write = Write(
            f"{self.client.name}/{operation.number}",
            wish.text,
            self.client.name,
            operation.number,
            condition=condition if wish.conditional else None,
        )
        self._history.writes.append(write)
        asked = rng.choice(("node", "peer", "region")) if rng.random() < self.client.demanding else ""
        heard: list[Answer] = []
        disk = None
        for _ in range(TRIES_MAX):
            pinned = self._is_pinned(write, heard)
            first = self._cluster.slots.get(write.slot)
            if pinned and (first is None or first.disk is not disk):
                break
            # What was looked at here may be decided on there.
            elsewhere = wish.look is not None and rng.random() < ELSEWHERE
            slot = first if pinned else self._choose(rng, elsewhere=elsewhere)
            slot = slot if slot is not None and slot.ready else None
            disk = slot.disk if slot is not None else disk
            heard += await self._try(slot, write, decide, asked, rng, twice=not heard)
            if self._is_through(write, heard):
                break
            await trio.sleep(rng.uniform(*PAUSE_S))
        if write.outcome is not Outcome.UNKNOWN:
            self._listener.written(write)
        if write.outcome is Outcome.ACKNOWLEDGED and self.client.role == "script":
            self._done.append((write, decide))
            await self._insist(rng)
        return write

    async def _look(
        self, operation: Operation, what: Callable[[Project], Any], rng: Random
    ) -> tuple[Any, Mapping[int, int]] | None:
        for _ in range(LOOKS_MAX):
            slot, terms = self._choose(rng), self._requests.terms(self.client, rng, self.token)
            if slot is not None:
                self._before = slot.name
                seen = await self._requests.look(slot, operation, what, terms)
                if seen is not None:
                    # Time to make up one's mind in; meanwhile others write.
                    await trio.sleep(rng.uniform(0, 0.5))
                    return seen
            await trio.sleep(rng.uniform(*PAUSE_S))
        return None

    def _is_pinned(self, write: Write, heard: list[Answer]) -> bool:
        """Whether it may have been written, under a name that is not known: then it is asked for there alone."""
        return write.dot is None and not all(answer.definite for answer in heard)

    async def _try(
        self,
        slot: Slot | None,
        write: Write,
        decide: Callable[[Project], Intent],
        asked: str,
        rng: Random,
        *,
        twice: bool,
    ) -> list[Answer]:
        """One attempt; two at once by a script that has just begun."""
        if slot is None:
            return [NOBODY_THERE]
        self._before = slot.name
        write.needed = dict(self.token)
        heard: list[Answer] = []

        async def once(terms: Terms) -> None:
            answer = await self._requests.write(
                slot, write, decide, terms, durability=asked, retry_of=write.dot
            )
            heard.append(answer)
            self._take(write, answer)

        async with trio.open_nursery() as nursery:
            for _ in range(2 if twice and self.client.role == "script" else 1):
                nursery.start_soon(once, self._requests.terms(self.client, rng, self.token))
        return heard

    def _take(self, write: Write, answer: Answer) -> None:
        """What the answer says about the write."""
        written = answer.written
        if written is None:
            write.dot = answer.dot or write.dot
            if answer.shown and answer.code != "token.behind":
                write.token = dict(answer.shown)
                self._took(write.token)
            return
        if written.dot is not None:
            self._same_change(write, written.dot)
            write.dot = written.dot
            if write.acknowledged_s is not None:
                return
            write.outcome, write.durability = Outcome.ACKNOWLEDGED, written.durability
            write.acknowledged_s = trio.current_time()
        write.token = dict(written.token)
        self._took(write.token)

    def _is_through(self, write: Write, heard: list[Answer]) -> bool:
        """Whether the client stops trying; says what came of the write if that is known."""
        if write.outcome is Outcome.ACKNOWLEDGED:
            return True
        if write.dot is not None or heard[-1] is NOBODY_THERE:
            return False
        if sum(answer.code in PUT_OFF for answer in heard) <= REFUSALS_MAX and heard[-1].code in PUT_OFF:
            return False
        if all(answer.definite for answer in heard):
            nothing = any(answer.written is not None for answer in heard)
            write.outcome = Outcome.NOTHING_TO_WRITE if nothing else Outcome.REFUSED
            return True
        # An earlier try was not answered, and may have been written behind this refusal.
        return heard[-1].definite

    async def _insist(self, rng: Random) -> None:
        """Send again what has succeeded, by its name to any node, by its key alone to one that has the change."""
        for number in range(rng.randint(1, INSISTS_MAX)):
            await trio.sleep(rng.uniform(0, 1))
            write, decide = rng.choice(self._done) if number else self._done[-1]
            dot = write.dot
            assert dot is not None, "it has been acknowledged"
            by_name, terms = rng.random() < 0.5, self._requests.terms(self.client, rng, self.token)
            # A start reads keys from the log, and nobody but this fault cuts it while they count.
            by_name = by_name or LOG_CUT in self._history.fired
            live = [slot for slot in self._cluster.live() if by_name or _has(slot, dot)]
            if not live:
                continue
            # Who has come last has its keys from others.
            ages = {life.slot: age for age, life in enumerate(self._history.lives)}
            slot = max(live, key=lambda each: ages[each.name]) if rng.random() < 0.5 else rng.choice(live)
            answer = await self._requests.write(slot, write, decide, terms, retry_of=dot if by_name else None)
            if answer.dot is not None or answer.code == OK:
                self._same_change(write, answer.dot)
            elif answer.definite and answer.code not in NOT_AGAIN and dot[0] not in self._history.forked:
                self._history.violate(
                    "P13",
                    f"{write.what}: {slot.name} refused a retry of the acknowledged {dot}: {answer.code}",
                )

    def _same_change(self, write: Write, told: Dot | None) -> None:
        """Complain of an answer that names another change; unless two processes wrote under one incarnation.

        Or unless a fault has destroyed the one that was named first: then the node knows of none.
        """
        if write.dot is None or write.dot[0] in self._history.forked:
            return
        if write.dot != told and write.dot not in self._history.destroyed.get(PROJECT, ()):
            self._history.violate("P13", f"{write.what}: a retry of {write.dot} was told {told}")

    # -- where

    @property
    def _moves(self) -> bool:
        return self.client.role == "session"

    def _choose(self, rng: Random, *, elsewhere: bool = False) -> Slot | None:
        """A node that is ready: of the own region, unless the client roams or none is there.

        ``elsewhere``: of any region, and another one than the last if there is one.
        """
        live = self._cluster.live()
        near = [slot for slot in live if slot.region == self.client.region]
        if self.client.role == "reader":
            return rng.choice(near) if near else None
        if self._moves or elsewhere:
            live, near = ([s for s in slots if s.name != self._before] for slots in (live, near))
            live = live or self._cluster.live()
        roams = elsewhere or rng.random() < self.client.roaming
        chosen = live if roams or not near else near
        return rng.choice(chosen) if chosen else None

    def _took(self, token: Mapping[int, int]) -> None:
        """A session goes on with the token that it was given last."""
        if self._moves:
            self.token = dict(token)


def _has(slot: Slot, dot: Dot) -> bool:
    engine = slot.engine
    project = None if engine is None else engine.projects.get(PROJECT)
    return project is not None and project.replica.known(dot[0]) >= dot[1]


async def work(
    plan: Plan,
    cluster: SimulatedCluster,
    history: History,
    listener: Listener,
    start: Callable[..., object],
) -> None:
    """Give every client of the plan its operations; ``start`` starts a task."""
    await trio.lowlevel.checkpoint()
    for client in plan.clients:
        todo = tuple(operation for operation in plan.operations if operation.client == client.name)
        worker = Worker(client, cluster, history, listener)
        start(worker.work, todo, history.began_s + plan.work_s)


async def herd(
    cluster: SimulatedCluster, history: History, listener: Listener, slot: Slot, rng: Random, count: int
) -> None:
    """``count`` requests to ``slot`` at once, of clients that try once; returns when all have heard, or given up."""
    client = Client(f"herd-{rng.getrandbits(32):08x}", slot.region, role="reader")
    requests = Requests(cluster, history)

    async def read(operation: Operation, person: str, terms: Terms) -> None:
        for row in await requests.read(slot, operation, (operation.flag,), person, terms):
            listener.read(row)

    async def edit(operation: Operation, wish: Wish, terms: Terms) -> None:
        write = Write(f"{client.name}/{operation.number}", wish.text, client.name, operation.number)
        history.writes.append(write)
        answer = await requests.write(slot, write, lambda view: wish.decide(view, None), terms)
        if answer.written is not None and answer.dot is not None:
            write.outcome, write.dot = Outcome.ACKNOWLEDGED, answer.dot
            write.durability, write.acknowledged_s = answer.written.durability, trio.current_time()
            write.token = dict(answer.written.token)
        elif answer.definite:
            write.outcome = Outcome.REFUSED if answer.written is None else Outcome.NOTHING_TO_WRITE
        else:
            write.dot = answer.dot
        if write.outcome is not Outcome.UNKNOWN:
            listener.written(write)

    async with trio.open_nursery() as nursery:
        for number in range(1, min(count, HERD_MAX) + 1):
            environment, person = rng.choice(ENVIRONMENTS), rng.choice(PEOPLE)
            terms = requests.terms(client, rng, {})
            if rng.random() < HERD_READS:
                operation = Operation(number, client.name, 0.0, "read", CONTESTED[0], environment)
                nursery.start_soon(read, operation, person, terms)
            else:
                operation = Operation(number, client.name, 0.0, "metadata", rng.choice(SOFT), environment)
                nursery.start_soon(edit, operation, wishes.wish(operation, rng), terms)
