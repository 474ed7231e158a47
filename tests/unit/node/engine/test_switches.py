"""After a change that only flips switches a flag is read in part; what is served is what a whole reading serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.limits import FLAG_BYTES_MAX
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.project import Project

NAME = "flag/checkout"
EXISTS = {"epoch": 1, "type": "boolean", "created": 1}
FLAG = {
    "exists": EXISTS,
    "variant/on": True,
    "variant/off": False,
    "env/prod/enabled": True,
    "env/prod/default": "on",
    "env/dev/default": "on",
}


class World:
    """Two regions that write one flag, and the views of the first."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.replica, self.other = Replica(), Replica()
        self._pens = {id(self.replica): Pen(self.replica, 1), id(self.other): Pen(self.other, 2)}
        self._hlc = 0
        self.project = self._project()
        created = self.change(self.replica, NEW_GENERATION, fields)
        self.other.apply(created)
        self.generation = created.dot
        self.project.refresh([created])

    def _project(self) -> Project:
        project = Project("shop", self.replica, on_defect=lambda *facts: pytest.fail(str(facts)))
        project.configure(("dev", "prod"), "v3")
        return project

    def change(self, replica: Replica, generation: tuple[int, int], fields: dict[str, Any]) -> Change:
        self._hlc += 1
        writes = [CellWrite(NAME, generation, field, value) for field, value in fields.items()]
        change = self._pens[id(replica)].write(writes, hlc=self._hlc, author="ada")
        replica.apply(change)
        return change

    def here(self, **fields: Any) -> Change:
        return self.change(self.replica, self.generation, fields)

    def there(self, **fields: Any) -> Change:
        """A change of the other region, which has seen the flag's creation only."""
        change = self.change(self.other, self.generation, fields)
        self.replica.apply(change)
        return change

    def served(self, environment: str) -> Any:
        return self.project.flag_set(environment).flags.get("checkout")

    def is_as_read_anew(self) -> bool:
        return _views(self.project) == _views(self._project())


def _views(project: Project) -> list[object]:
    sets = [dict(project.flag_set(environment).flags) for environment in project.environments]
    return [list(project.flag_keys()), project.conflicts(), project.quarantined, sets]


def switch(*, enabled: object = False, environment: str = "prod", **more: Any) -> dict[str, Any]:
    """A switch as authoring writes it, with existence; ``more`` may say otherwise."""
    return {"exists": EXISTS, f"env/{environment}/enabled": enabled, **more}


def test_a_switch_is_flipped_where_it_was_and_nothing_else_is_read_again() -> None:
    world = World(FLAG)
    dev = world.served("dev")
    world.project.refresh(
        [world.here(**switch()), world.here(**switch(enabled=True)), world.here(**switch())]
    )
    assert not world.served("prod")["enabled"]
    assert world.served("dev") is dev
    assert world.is_as_read_anew()


def recreated(world: World) -> Sequence[Change]:
    gone = world.here(exists=TOMBSTONE)
    return [gone, world.change(world.replica, NEW_GENERATION, switch(enabled=True))]


def kill(world: World) -> Sequence[Change]:
    return [
        world.change(world.replica, NO_GENERATION, {"kill/prod": True}),
        world.here(**switch(enabled=True)),
    ]


CASES: dict[str, Callable[[World], Sequence[Change]]] = {
    "killed": kill,
    "another generation": recreated,
    "deleted": lambda w: [w.here(**switch()), w.here(exists=TOMBSTONE)],
    "switched in two regions": lambda w: [w.here(**switch()), w.there(**switch(enabled=True))],
    "deleted there, unseen by the switch": lambda w: [w.here(**switch()), w.there(exists=TOMBSTONE)],
    "two values side by side": lambda w: [
        w.here(**{"env/prod/enabled": False}),
        w.there(**{"env/prod/enabled": True}),
    ],
    "another type": lambda w: [w.here(**switch(exists={**EXISTS, "type": "string"}))],
    "no type": lambda w: [w.here(**switch(exists=5))],
    "junk": lambda w: [w.here(**switch(enabled=7))],
    "taken back": lambda w: [w.here(**switch(enabled=TOMBSTONE))],
    "not written before": lambda w: [w.here(**switch(enabled=True, environment="dev"))],
    "unknown environment": lambda w: [w.here(**switch(environment="gone"))],
    "with a field of its own": lambda w: [w.here(**switch(**{"env/prod/default": "off"}))],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fields", [FLAG, {"exists": EXISTS}], ids=["typical", "bare"])
def test_what_is_served_is_what_a_whole_reading_serves(case: str, fields: dict[str, Any]) -> None:
    world = World(fields)
    world.project.refresh(CASES[case](world))
    assert world.is_as_read_anew()
    world.project.refresh(
        [world.change(world.replica, max(world.replica.objects[NAME]), switch(enabled=True))]
    )
    assert world.is_as_read_anew(), "nor does what was wrong make the next switch go wrong"


def test_a_switch_that_takes_a_flag_over_its_limit_is_not_flipped() -> None:
    for size in range(FLAG_BYTES_MAX - 160, FLAG_BYTES_MAX):
        world = World({**FLAG, "description": "x" * size})
        world.project.refresh([world.here(**switch(enabled=True, environment="dev"))])
        assert world.is_as_read_anew(), f"with {size} bytes of description"
