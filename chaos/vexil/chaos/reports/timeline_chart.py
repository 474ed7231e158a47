"""The picture of a run, as SVG: a lane for each node, with its lives, the faults at it, and what clients asked of it.

Every mark says in a ``title`` what it is. Shapes differ, not only colours; the colours come from the page's style.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.reports.narrative import clean, describe, read_text
from vexil.chaos.run.history import Attempt, History, Life, Window, Write, requests_of
from vexil.chaos.run.simulation import Report

WIDTH_MIN: Final = 1_060
WIDTH_MAX: Final = 6_000
PER_S: Final = 40
"""So wide is a second, within the limits."""
LEFT, RIGHT, TOP, BOTTOM = 110, 20, 30, 34
BAND, LIFE, MARKS, GAP = 15, 10, 16, 12
BANDS_MAX: Final = 6
"""Faults that are drawn above each other in one lane; more share the last row."""
MARKS_MAX: Final = 5_000
"""Requests that are drawn, reads and writes each: as many at every node."""
ARRIVALS_MAX: Final = 40
"""Of more changes it is not drawn when other nodes had them."""
CHARACTER: Final = 6.2
"""How wide a character of a band's text is, about."""
TITLE_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class _Scale:
    from_s: float
    until_s: float
    width: float

    def x(self, at_s: float) -> float:
        share = (min(max(at_s, self.from_s), self.until_s) - self.from_s) / (self.until_s - self.from_s)
        return LEFT + share * (self.width - LEFT - RIGHT)


def chart(report: Report) -> str:
    """The ``svg`` element."""
    history = report.history
    scale = _scale(report)
    lanes = list(_lanes(history))
    grounds: list[str] = []
    body: list[str] = []
    y = TOP
    for name, windows in lanes:
        rows = _rows(windows, scale)
        height = GAP + len(rows) * BAND + (LIFE + MARKS if name else 0)
        grounds.append(f'<rect class="lane" x="0" y="{y}" width="{scale.width:.0f}" height="{height}"/>')
        middle = y + height / 2 + 4
        body.append(f'<text class="name" x="10" y="{middle:.1f}">{_text(name or "everywhere")}</text>')
        for index, row in enumerate(rows):
            body += [_band(window, name, history, scale, y + GAP / 2 + index * BAND) for window in row]
        if name:
            bar = y + GAP / 2 + len(rows) * BAND
            body += [_life(life, history, scale, bar) for life in history.lives if life.slot == name]
            body += _marks(name, report, scale, bar + LIFE + MARKS / 2, most=MARKS_MAX // len(lanes))
        y += height + 4
    label = "Lives of the nodes, faults and requests over time; the same is told as text below."
    size = f'viewBox="0 0 {scale.width:.0f} {y + BOTTOM}" width="{scale.width:.0f}" height="{y + BOTTOM}"'
    head = f'<svg role="img" aria-label="{label}" {size} xmlns="http://www.w3.org/2000/svg">'
    over = [*_moments(report, scale, y), *_violations(report, scale, y)]
    return "\n".join([head, *grounds, *_ticks(history, scale, y), *body, *over, "</svg>"])


def families(history: History | None = None) -> list[str]:
    """What kinds of faults are told apart by colour: the modules that they are in, in order; of a run, if given."""
    kinds = KINDS if history is None else [window.fault.kind for window in history.windows]
    return sorted({_family(kind) for kind in kinds} - {""})


def _family(kind: str) -> str:
    return KINDS[kind].begin.__module__.rpartition(".")[2] if kind in KINDS else ""


# -- what is where


def _scale(report: Report) -> _Scale:
    history = report.history
    ends = [v.at_s for v in report.violations] or [history.converged_s or report.virtual_s]
    began_s, until_s = history.began_s, max(ends)
    if until_s <= began_s:
        began_s = 0.0
    span_s = max(until_s - began_s, 0.1)
    width = min(max(LEFT + RIGHT + span_s * PER_S, WIDTH_MIN), WIDTH_MAX)
    return _Scale(began_s - span_s * 0.01, until_s + span_s * 0.02, width)


def _lanes(history: History) -> Iterator[tuple[str, list[Window]]]:
    """Name and faults; first what is everywhere, if anything is."""
    everywhere = [window for window in history.windows if not window.fault.places]
    if everywhere:
        yield "", everywhere
    regions = {life.slot: life.region for life in history.lives}
    order = list(dict.fromkeys(regions.values()))
    for slot in sorted(regions, key=lambda slot: (order.index(regions[slot]), slot)):
        yield slot, [w for w in history.windows if {slot, regions[slot]} & {*w.fault.places}]


def _rows(windows: Iterable[Window], scale: _Scale) -> list[list[Window]]:
    """Windows that do not overlap share a row, as far as there are rows."""
    rows: list[list[Window]] = []
    free: list[float] = []
    for window in sorted(windows, key=lambda window: window.began_s):
        left, right = _extent(window, scale)
        row = next((n for n, x in enumerate(free) if x <= left), len(free))
        if row == BANDS_MAX:
            row -= 1
        elif row == len(free):
            rows.append([])
            free.append(0.0)
        rows[row].append(window)
        free[row] = max(free[row], right + 2)
    return rows


def _extent(window: Window, scale: _Scale) -> tuple[float, float]:
    left = scale.x(window.began_s)
    right = scale.x(scale.until_s if window.ended_s is None else window.ended_s)
    return left, max(right, left + BAND - 3)


# -- marks


def _band(window: Window, lane: str, history: History, scale: _Scale, top: float) -> str:
    left, right = _extent(window, scale)
    fault = window.fault
    others = [place for place in fault.places if place != lane and not lane.startswith(f"{place}-")]
    text = " ".join([fault.kind, *others])
    until = "not over" if window.ended_s is None else f"until {window.ended_s - history.began_s:.3f} s"
    title = (
        f"{describe(fault)} at {', '.join(fault.places)}: {window.began_s - history.began_s:.3f} s, {until}"
    )
    box = f'x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{BAND - 2}" rx="2"'
    shape = f'<rect class="fault {_family(fault.kind)}" {box}/>'
    label = ""
    if right - left > len(text) * CHARACTER:
        label = f'<text class="band" x="{left + 4:.1f}" y="{top + BAND - 5}">{_text(text)}</text>'
    return f"<g>{_title(title)}{shape}{label}</g>"


def _life(life: Life, history: History, scale: _Scale, top: float) -> str:
    began, ended = scale.x(life.began_s), scale.x(scale.until_s if life.ended_s is None else life.ended_s)
    served = ended if life.ready_s is None else min(scale.x(life.ready_s), ended)
    moments = [("begins", life.began_s), ("serves", life.ready_s), (life.how or "ends", life.ended_s)]
    said = ", ".join(f"{what} {at_s - history.began_s:.3f} s" for what, at_s in moments if at_s is not None)
    parts = [
        _title(f"{life.slot} as {life.incarnation:016x}: {said}"),
        f'<rect class="starting" x="{began:.1f}" y="{top}" width="{served - began:.1f}" height="{LIFE}"/>',
        f'<rect class="serving" x="{served:.1f}" y="{top}" width="{ended - served:.1f}" height="{LIFE}"/>',
    ]
    if life.ended_s is not None and life.ended_s <= scale.until_s:
        middle, arm = top + LIFE / 2, LIFE / 2
        if life.how == "stop":
            parts.append(
                f'<rect class="stop" x="{ended - arm:.1f}" y="{top}" width="{LIFE}" height="{LIFE}"/>'
            )
        else:
            parts.append(f'<path class="death" d="{_cross(ended, middle, arm)}"/>')
    return f"<g>{''.join(parts)}</g>"


def _marks(slot: str, report: Report, scale: _Scale, y: float, *, most: int) -> list[str]:
    history = report.history
    asked = [(write, each) for write in history.writes for each in write.attempts if each.slot == slot]
    reads = [rows for rows in requests_of(history.reads) if rows[0].slot == slot]
    began_s = history.began_s
    marks = [
        f'<path class="read{"" if rows[0].answer == "ok" else " bad"}" d="M{scale.x(rows[0].ended_s):.1f} {y - 4}v8">'
        f"{_title(f'{read_text(rows)}, {rows[0].ended_s - began_s:.3f} s')}</path>"
        for rows in reads[:most]
    ]
    marks += [_attempt(write, attempt, history, scale, y) for write, attempt in asked[:most]]
    return marks + list(_arrivals(slot, report, scale, y))


def _arrivals(slot: str, report: Report, scale: _Scale, y: float) -> Iterator[str]:
    """When the node had what others wrote: of all changes, if they are few."""
    history = report.history
    written = [write for write in history.writes if write.dot is not None]
    if len(written) <= ARRIVALS_MAX:
        for write in written:
            at_s = history.applied_s.get((PROJECT, write.dot), {}).get(slot) if write.dot else None
            if at_s is not None and not any(attempt.slot == slot for attempt in write.attempts):
                x = scale.x(at_s)
                title = _title(f"has {write.key}: {write.what}, {at_s - history.began_s:.3f} s")
                yield f'<path class="has" d="M{x - 4:.1f} {y}l4 -4l4 4l-4 4z">{title}</path>'


def _attempt(write: Write, attempt: Attempt, history: History, scale: _Scale, y: float) -> str:
    left, over_s = scale.x(attempt.began_s), history.over_s(attempt)
    right = scale.x(scale.until_s if over_s is None else over_s)
    title = f"{write.key}: {write.what}: {attempt.answer}, asked at {attempt.began_s - history.began_s:.3f} s"
    title += ", not over" if over_s is None else f", over at {over_s - history.began_s:.3f} s"
    line = f'<path class="asking" d="M{left:.1f} {y}H{right:.1f}"/>' if right - left > 1 else ""
    if over_s is None:
        mark = ""
    elif attempt.answer == "ok":
        mark = f'<circle class="ok" cx="{right:.1f}" cy="{y}" r="4"/>'
    elif attempt.answer in {"", "none"}:
        mark = f'<circle class="none" cx="{right:.1f}" cy="{y}" r="3.5"/>'
    else:
        mark = f'<path class="refused" d="{_cross(right, y, 3.5)}"/>'
    return f"<g>{_title(title)}{line}{mark}</g>"


def _cross(x: float, y: float, arm: float) -> str:
    a, b, c, d = x - arm, x + arm, y - arm, y + arm
    return f"M{a:.1f} {c:.1f}L{b:.1f} {d:.1f}M{a:.1f} {d:.1f}L{b:.1f} {c:.1f}"


def _ticks(history: History, scale: _Scale, bottom: float) -> Iterator[str]:
    span_s = scale.until_s - scale.from_s
    wanted_s = span_s / max(scale.width / 110, 1)
    power = 10 ** floor(log10(wanted_s))
    step_s = next(power * n for n in (1, 2, 5, 10) if power * n >= wanted_s)
    number = 0
    while history.began_s + number * step_s <= scale.until_s:
        x = scale.x(history.began_s + number * step_s)
        yield f'<path class="tick" d="M{x:.1f} {TOP - 6}V{bottom}"/>'
        yield f'<text class="time" x="{x:.1f}" y="{bottom + 16}">{number * step_s:g} s</text>'
        number += 1


def _moments(report: Report, scale: _Scale, bottom: float) -> Iterator[str]:
    history = report.history
    for at_s, what in (
        (history.frozen_s, "all is mended"),
        (history.answered_s, "all is answered"),
        (history.converged_s, "converged"),
    ):
        if at_s is not None and at_s <= scale.until_s:
            x = scale.x(at_s)
            yield f'<path class="moment" d="M{x:.1f} {TOP - 6}V{bottom}"/>'
            yield f'<text class="moment" x="{x - 4:.1f}" y="{TOP - 10}">{what}</text>'


def _violations(report: Report, scale: _Scale, bottom: float) -> Iterator[str]:
    for violation in report.violations:
        x = scale.x(violation.at_s)
        title = (
            f"{violation.invariant} at {violation.at_s - report.history.began_s:.3f} s: {violation.detail}"
        )
        yield (
            f'<g>{_title(title)}<path class="violation" d="M{x:.1f} {TOP - 6}V{bottom}"/>'
            f'<text class="violation" x="{x - 4:.1f}" y="{TOP - 10}">{_text(violation.invariant)} violated</text></g>'
        )


def _title(text: str) -> str:
    return f"<title>{_text(text[:TITLE_CHARACTERS_MAX])}</title>"


def _text(text: str) -> str:
    return escape(clean(text), quote=True)


def samples(history: History) -> Sequence[tuple[str, str]]:
    """For a legend: a mark, and what it means."""
    return (
        (_sample('<rect class="serving" x="2" y="5" width="26" height="10"/>'), "serves"),
        (_sample('<rect class="starting" x="2" y="5" width="26" height="10"/>'), "starts"),
        (_sample(f'<path class="death" d="{_cross(15, 10, 5)}"/>'), "dies"),
        (_sample('<rect class="stop" x="10" y="5" width="10" height="10"/>'), "stops as planned"),
        (_sample('<circle class="ok" cx="15" cy="10" r="4"/>'), "a write, done"),
        (_sample('<circle class="none" cx="15" cy="10" r="3.5"/>'), "a write, no answer"),
        (_sample(f'<path class="refused" d="{_cross(15, 10, 3.5)}"/>'), "a write, refused"),
        (_sample('<path class="has" d="M11 10l4 -4l4 4l-4 4z"/>'), "has a write"),
        (_sample('<path class="read" d="M15 6v8"/>'), "a read"),
        (_sample('<path class="read bad" d="M15 6v8"/>'), "a read, not answered"),
        *(
            (
                _sample(f'<rect class="fault {name}" x="2" y="4" width="26" height="12" rx="2"/>'),
                f"faults: {name}",
            )
            for name in families(history)
        ),
    )


def _sample(mark: str) -> str:
    return f'<svg width="30" height="20" aria-hidden="true">{mark}</svg>'
