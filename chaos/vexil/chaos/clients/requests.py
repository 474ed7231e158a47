"""One request of one client to one node, as the node's HTTP interface would take it, and what the client hears.

A request runs in the node's process, which may die meanwhile. A token that comes with it is waited for before anything
is read or decided; a node that stays behind refuses. Whatever is asked and answered is noted in the history.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from traceback import format_exception
from typing import Final, TypeVar

import trio

from vexil.chaos.clients.operations import CONTEXTS, PROJECT
from vexil.chaos.run.history import Attempt, History, Read, Write
from vexil.chaos.run.plan import Client, Operation
from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.protocol_steps import CLIENT_READ, CLIENT_WRITE
from vexil.chaos.world.simulated_cluster import NoAnswer, SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Dot, parse_id, render_id
from vexil.node.api.turns import in_turns
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.errors import ApiError, NodeNotReady, NotFound, TokenBehind
from vexil.node.project import Project
from vexil.sdk.evaluation import ABSENT, Evaluation, evaluate

TRY_TIMEOUT_MS: Final = 7_000
"""Above what a retry waits for its change, and above what a write waits for its durability."""
IMPATIENT_MS: Final = 300
FINGERPRINT: Final = b"same"
"""A key never comes with another body here."""
NO_ANSWER: Final = "none"
OK: Final = "ok"
STALE: Final = "stale"
"""Of a read: the node is behind the token."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a client asks."""

    needed: Mapping[int, int] = field(default_factory=dict)
    """Its token."""
    wait_ms: float = 0.0
    """How long the node may make it wait for that."""
    timeout_ms: float = TRY_TIMEOUT_MS
    abandon: bool = False
    """Whether the node notices that the client has given up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client has heard of a write."""

    code: str
    """``ok``, the code of an error, or ``none``."""
    definite: bool
    """Whether it knows what this request has done."""
    dot: Dot | None = None
    written: Written | None = None
    shown: Mapping[int, int] = field(default_factory=dict)
    """The vector of the node when it refused."""


NOTHING_HEARD: Final = Answer(NO_ANSWER, definite=False)
NOBODY_THERE: Final = Answer(NO_ANSWER, definite=True)
"""There was no node to ask."""


class Requests:
    """What clients do to one cluster."""

    def __init__(self, cluster: SimulatedCluster, history: History) -> None:
        """Nobody has asked for anything yet."""
        self.cluster = cluster
        self.history = history

    def terms(self, client: Client, rng: Random, needed: Mapping[int, int]) -> Terms:
        """How patiently ``client`` asks this time."""
        impatient, abandon = rng.random() < client.impatient, rng.random() < 0.5
        return Terms(needed, client.token_wait_ms, IMPATIENT_MS if impatient else TRY_TIMEOUT_MS, abandon)

    async def write(
        self,
        slot: Slot,
        write: Write,
        decide: Callable[[Project], Intent],
        terms: Terms,
        *,
        durability: str = "",
        retry_of: Dot | None = None,
    ) -> Answer:
        """Try ``write`` at ``slot`` once; the attempt is noted, what it means for the write is for the caller."""
        attempt = Attempt(slot.name, trio.current_time(), answer=NO_ANSWER)
        write.attempts.append(attempt)
        write.slot = slot.name
        again = "" if retry_of is None else f", again {render_id(retry_of)}"
        self.history.tell(write.client, "asks", f"#{write.number} {write.what} at {slot.name}{again}")
        life = None if slot.process is None else slot.process.life
        shown: dict[int, int] = {}

        async def handle(engine: Engine) -> Written:
            def decided(view: Project) -> Intent:
                self.history.authored_on[PROJECT, write.key, engine.incarnation] = dict(view.replica.vv)
                return decide(view)

            async with _step(life, CLIENT_WRITE):
                try:
                    await _catch_up(engine, terms)
                    return await engine.write(
                        PROJECT,
                        decided,
                        author=write.client,
                        idempotency=(write.key, FINGERPRINT),
                        durability=durability,
                        retry_of=retry_of,
                    )
                except ApiError:
                    shown.update(_vector(engine))
                    raise

        answer = NOTHING_HEARD
        try:
            written = await self._request(slot, handle, terms)
            answer = Answer(OK, definite=True, dot=written.dot, written=written)
        except NoAnswer:
            pass
        except ApiError as error:
            told = None if error.definite else parse_id(str(error.members.get("change")))
            answer = Answer(error.code, error.definite, told, shown=shown)
        finally:
            attempt.ended_s, attempt.answer = trio.current_time(), answer.code
        self.history.tell(write.client, "hears", f"#{write.number} {_said(answer)} from {slot.name}")
        return answer

    async def read(
        self,
        slot: Slot,
        operation: Operation,
        flags: Sequence[str],
        person: str,
        terms: Terms,
    ) -> list[Read]:
        """Read ``flags`` for ``person`` in one request to ``slot``; a row for each, noted in the history."""
        began_s, environment = trio.current_time(), operation.environment
        life = None if slot.process is None else slot.process.life

        async def handle(engine: Engine) -> tuple[dict[int, int], list[Evaluation]]:
            async with _step(life, CLIENT_READ):
                return await _evaluate(engine, flags, environment, person, terms)

        answer, vector, found = OK, dict[int, int](), list[Evaluation]()
        try:
            vector, found = await self._request(slot, handle, terms)
        except NoAnswer:
            answer = NO_ANSWER
        except TokenBehind:
            answer = STALE
        except ApiError as error:
            answer = error.code
        rows = [
            Read(
                operation.client,
                operation.number,
                slot.name,
                flag,
                environment,
                began_s,
                trio.current_time(),
                answer,
                needed=terms.needed,
                token=vector,
                context=person,
            )
            for flag in flags
        ]
        for row, each in zip(rows, found, strict=False):
            row.value = None if each.value is ABSENT else each.value
            row.variant = each.variant or None
            row.reason = each.error_code or each.reason
            row.metadata = each.metadata
        self.history.reads += rows
        values = ", ".join(f"{row.flag} {row.variant or row.reason}" for row in rows)
        heard = values if answer == OK else answer
        said = f"#{operation.number} {environment} as {person} at {slot.name}: {heard}"
        self.history.tell(operation.client, "reads", said)
        return rows

    async def look(
        self, slot: Slot, operation: Operation, what: Callable[[Project], T], terms: Terms
    ) -> tuple[T, dict[int, int]] | None:
        """What ``what`` says of the project at ``slot``, and all that is known there; None without an answer."""
        life = None if slot.process is None else slot.process.life

        async def handle(engine: Engine) -> tuple[T, dict[int, int]]:
            async with _step(life, CLIENT_READ):
                project = await _entered(engine, terms)
                return what(project), {**project.replica.retired, **project.replica.vv}

        try:
            found = await self._request(slot, handle, terms)
        except (NoAnswer, ApiError):
            found = None
        said = f"#{operation.number} at {slot.name}{': no answer' if found is None else ''}"
        self.history.tell(operation.client, "looks", said)
        return found

    async def _request(self, slot: Slot, handle: Callable[[Engine], Awaitable[T]], terms: Terms) -> T:
        try:
            return await self.cluster.request(
                slot, handle, timeout_ms=terms.timeout_ms, abandon=terms.abandon
            )
        except (NoAnswer, ApiError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is: nothing but a refusal may come out of a node
            where = "".join(format_exception(error)[-3:])
            self.history.violate("P12", f"a request to {slot.name} ended in {error!r}\n{where}")
            raise NoAnswer("an error of ours") from None


async def _catch_up(engine: Engine, terms: Terms) -> None:
    """Raise TokenBehind if the node does not get to what the token has."""
    if terms.needed and not await engine.wait_for(PROJECT, terms.needed, terms.wait_ms):
        raise TokenBehind


async def _entered(engine: Engine, terms: Terms) -> Project:
    """The project, as the interface finds it. Raises NodeNotReady, TokenBehind or NotFound."""
    if not engine.ready:
        raise NodeNotReady("the node is loading its state")
    await _catch_up(engine, terms)
    project = engine.project(PROJECT)
    if project is None:
        raise NotFound("project", PROJECT)
    return project


async def _evaluate(
    engine: Engine, flags: Sequence[str], environment: str, person: str, terms: Terms
) -> tuple[dict[int, int], list[Evaluation]]:
    project = await _entered(engine, terms)
    if environment not in project.environments:
        raise NotFound("environment", environment)
    flag_set, context, now_s = project.flag_set(environment), CONTEXTS[person], engine.wall_ms() / 1000
    vector = dict(project.replica.vv)
    if len(flags) == 1:
        return vector, [evaluate(flag_set, flags[0], context, now_s=now_s)]
    found: list[Evaluation] = []
    with flag_set.cut() as cut:
        async for turn in in_turns(flags):
            found += [evaluate(cut, flag, context, now_s=now_s) for flag in turn]
    return vector, found


def _vector(engine: Engine) -> Mapping[int, int]:
    project = engine.projects.get(PROJECT)
    return {} if project is None else project.replica.vv


@asynccontextmanager
async def _step(life: ProcessLife | None, name: str) -> AsyncIterator[None]:
    """A process that stands still takes no request and sends no answer; else this is no checkpoint."""
    assert life is not None, "a request runs in a process"
    with life.step(name):
        await life.check()
        yield
        await life.check()


def _said(answer: Answer) -> str:
    change = "" if answer.dot is None else f" {render_id(answer.dot)}"
    if answer.written is None:
        return f"{answer.code}{change}"
    return f"ok{change}, {answer.written.durability}" if change else "ok, nothing to write"
