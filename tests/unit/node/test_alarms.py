"""What alarms remember, to say each thing once, is bounded; beyond it they say less or say it again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from vexil.node import alarms
from vexil.node.alarms import Alarms
from vexil.node.seams import AsideRecord
from vexil.node.telemetry import Silence


@dataclass
class Told(Silence):
    """Telemetry and log that keep what is said."""

    lines: list[tuple[str, object]] = field(default_factory=list)
    aside: int = 0

    def error(self, event: str, **facts: object) -> None:
        self.lines.append((event, facts.get("incarnation")))

    def count_aside(self, reason: str) -> None:
        self.aside += 1


def refused(n: int, *, project: str = "shop") -> AsideRecord:
    return AsideRecord(project, "undecodable: because", "eu-2", b"%d" % n)


def test_each_other_process_in_our_slot_is_told_once_and_at_most_so_many_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarms, "TWINS_MAX", 2)
    told = Told()
    known = Alarms(told, told)
    for incarnation in (1, 2, 1, 3, 3, 2):
        known.twin(incarnation)
    assert known.twins == 2
    assert [incarnation for _, incarnation in told.lines] == [f"{1:016x}", f"{2:016x}"]


def test_of_too_many_refused_changes_the_oldest_is_forgotten_and_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarms, "ASIDE_REMEMBERED_MAX", 3)
    told = Told()
    known = Alarms(told, told)
    assert [known.aside(refused(n)) for n in (1, 2, 3, 1)] == [True, True, True, False]
    assert known.aside(refused(4))
    assert [known.aside(refused(n)) for n in (2, 3, 4)] == [False] * 3
    assert known.aside(refused(1))
    assert known.aside_count == told.aside == len(told.lines) == 5


def test_the_same_bytes_in_two_projects_are_two_refused_changes() -> None:
    told = Told()
    known = Alarms(told, told)
    assert known.aside(refused(1))
    assert known.aside(refused(1, project="bank"))
