"""Histories about a cluster as a whole: it becomes one again, and is quiet then (P8, P9)."""

from __future__ import annotations

from tests.sim.checked.histories import Play, described
from tests.sim.checked.stage import Stage
from vexil.chaos.checkers.checker import Wait

# -- P8 and P9


def quiet(stage: Stage) -> None:
    stage.two()
    stage.waited(Wait.TIDY)
    stage.waited(Wait.CALM)
    stage.settle()


def sends_in_the_calm(stage: Stage) -> None:
    left, _ = stage.two()
    stage.waited(Wait.CALM)
    left.gauges.payload_bytes_sent += 1
    stage.settle()


def writes_in_the_calm(stage: Stage) -> None:
    left, _ = stage.two()
    stage.waited(Wait.CALM)
    left.do("patch", **described("more"))
    stage.settle()


def is_never_tidy(stage: Stage) -> None:
    stage.two()
    stage.waited(Wait.TIDY, in_time=False)


def converges(stage: Stage) -> None:
    stage.two()
    for wait in Wait:
        stage.waited(wait)


def too_late(wait: Wait) -> Play:
    def play(stage: Stage) -> None:
        stage.two()
        stage.waited(wait, in_time=False)

    play.__name__ = f"{wait.name.lower()}_too_late"
    return play
