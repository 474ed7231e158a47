"""The timeline of a run, as text and as a page: what matters is in it, it is bounded, nothing in it becomes code."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from tests.sim.made_up_history import INCARNATION, MadeUp
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.reports.narrative import LEAD_UP_S, settings_of
from vexil.chaos.reports.timeline import COLUMNS, HEAD_LINES, LINES_MAX, timeline
from vexil.chaos.reports.timeline_chart import MARKS_MAX, families
from vexil.chaos.reports.timeline_html import HUES, page
from vexil.chaos.run import swarm
from vexil.chaos.run.plan import Fault, Plan
from vexil.chaos.run.simulation import Report, run_plan
from vexil.crdt.change import render_id

NASTY = "<script>alert('x')</script>\x1b[2J\x00\" onload=\"x"


def story(report: Report) -> list[str]:
    """The lines below the header, without the headings of columns."""
    lines = timeline(report).splitlines()
    return lines[lines.index("") + 2 :]


def the_line(report: Report, text: str) -> str:
    (found,) = [line for line in story(report) if text in line]
    return found


# -- the header


def test_the_header_says_what_it_was_what_it_violates_and_how_to_repeat_it() -> None:
    run = MadeUp("eu-1", "eu-2", "us-1", seed=12)
    run.fault("cut", 1.0, 2.0, "eu", "us")
    run.violation(4.5, "eu-1 has lost it")
    text = timeline(run.report, file="some where/a.json")
    assert "seed 12, profile mixed, fail" in text
    assert "eu 2, us 1" in text
    assert re.search(r"^verdicts +P3 fail$", text, re.MULTILINE)
    assert re.search(r"^violated +P3 at 4\.500 s: eu-1 has lost it$", text, re.MULTILINE)
    assert re.search(r"^repeat +vexil chaos replay 'some where/a\.json'$", text, re.MULTILINE)


def test_a_seed_repeats_its_own_plan_and_no_other() -> None:
    run = MadeUp("eu-1")
    own = replace(run.report, plan=swarm.plan(12))
    assert "vexil chaos sim --seeds 12\n" in timeline(own)
    smaller = replace(own, plan=replace(own.plan, faults=(), operations=()))
    assert "vexil chaos" not in timeline(smaller)


def test_the_header_names_every_setting_that_is_not_as_by_default() -> None:
    plan = next(
        plan for plan in map(swarm.plan, range(100)) if plan.world.network.slow and plan.knobs.page_bytes
    )
    named = {setting.split()[0] for setting in settings_of(plan)}
    assert {"network.slow", "page_bytes"} <= named
    assert settings_of(Plan(1, {"eu": 1})) == []


# -- what is told


def test_what_happened_is_told_in_order_with_when_where_and_what() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 3.0, "eu", "us")
    write = run.write("eu-1", 1.5, told_s=1.75)
    run.has("us-1", write, 3.25)
    run.dies("eu-1", 3.5)
    run.read("us-1", 3.75)
    run.violation(4.0, "it is gone")
    lines = [line for line in story(run.report) if "last" not in line]
    expected = (
        ("1.000  * eu, us", "cut for 2.00 s"),
        ("1.500    eu-1", "ann/1 asks: patch a"),
        ("1.750    eu-1", "has abcdef:1"),
        ("1.750    eu-1", "ann/1 is told ok: abcdef:1"),
        ("3.000  * eu, us", "cut is over"),
        ("3.250    us-1", "has abcdef:1: ann/1"),
        ("3.500    eu-1", "dies"),
        ("3.750    us-1", "ann/1000 reads prod: a on"),
        ("4.000  !", "P3: it is gone"),
    )
    assert len(lines) == len(expected)
    for line, (beginning, text) in zip(lines, expected, strict=True):
        assert line.strip().startswith(beginning)
        assert text in line


def test_faults_that_last_are_bars_beside_what_happens_meanwhile() -> None:
    run = MadeUp("eu-1", "us-1")
    run.fault("cut", 1.0, 5.0, "eu", "us")
    run.fault("pause", 2.0, 3.0, "eu-1")
    run.fault("poison", 2.5, 2.5, "eu-1")
    run.fault("disk_full", 4.0, 9.0, "us-1")
    run.violation(6.0, "it is gone")
    run.write("us-1", 2.25)
    report = run.report
    assert "┌ cut" in the_line(report, "cut for")
    assert "│┌ pause" in the_line(report, "pause for")
    assert "││ ann/1 asks" in the_line(report, "asks")
    assert "││ poison" in the_line(report, "poison")
    assert "│└ pause is over" in the_line(report, "pause is")
    assert "│┌ disk_full" in the_line(report, "disk_full for")
    assert "└│ cut is over" in the_line(report, "cut is")
    assert " │ P3: it is gone" in the_line(report, "P3:")


def test_before_the_lead_up_only_what_matters_is_told_and_then_everything() -> None:
    run = MadeUp("eu-1", "us-1")
    early, other, late = (
        run.write("eu-1", 1.0, flag="a"),
        run.write("eu-1", 1.5, flag="b"),
        run.write("eu-1", 18.0, flag="b"),
    )
    run.read("us-1", 2.0)
    run.fault("cut", 3.0, 4.0, "eu", "us")
    run.event(5.0, "us-1", "ready", "serves")
    run.event(5.5, "us-1", "alarm", "fork demo")
    run.read("us-1", 19.0)
    run.violation(20.0, f"us-1 has lost {render_id(MadeUp.dot(early))}")
    report = run.report
    lines = story(report)
    border = next(n for n, line in enumerate(lines) if f"the last {LEAD_UP_S:g} s before it" in line)
    before, after = "\n".join(lines[:border]), "\n".join(lines[border:])
    for told in (
        f"{early.key} asks",
        f"{early.key} is told",
        "cut for",
        "cut is over",
        "serves",
        "alarm: fork demo",
    ):
        assert told in before
    assert f"{other.key} " not in before
    assert "reads" not in before
    assert f"{late.key} asks" in after
    assert "reads" in after
    assert "> eu-1" in the_line(report, f"{early.key} asks")


@pytest.mark.parametrize(
    "detail", ["flag 'b' shows what was replaced", "ann/2 is gone", f"eu-1 lacks {INCARNATION:016x}:2"]
)
def test_writes_to_the_flag_that_the_violation_is_about_matter(detail: str) -> None:
    run = MadeUp("eu-1")
    for flag in ("a", "b", "b", "c"):
        run.write("eu-1", 1.0, flag=flag, what="patch")
    run.violation(20.0, detail)
    text = "\n".join(story(run.report))
    assert [f"ann/{n} asks" in text for n in (1, 2, 3, 4)] == [False, True, True, False]


def test_a_request_that_ended_with_the_run_was_not_answered() -> None:
    run = MadeUp("eu-1")
    run.write("eu-1", 1.0, "none", told_s=4.0)
    run.violation(4.0, "it is gone")
    assert "is told" not in timeline(run.report)
    assert "ann/1: patch a: none, asked at 1.000 s, not over" in page(run.report)


def test_messages_are_told_if_the_trace_was_kept() -> None:
    run = MadeUp("eu-1", "us-1")
    run.violation(4.0, "it is gone")
    trace = ("12.500000000 message eu-1 us-1 push 120\n", "12.600000000 start eu-1 00\n")
    text = timeline(replace(run.report, trace=trace))
    assert re.search(r"2\.500 +eu-1 +message to us-1 push 120", text)
    assert "2.600" not in text


def test_a_long_run_is_cut_and_says_by_how_much() -> None:
    run = MadeUp("eu-1")
    for number in range(3_000):
        run.write("eu-1", 1.0 + number / 1_000)
    lines = story(run.report)
    (note,) = [n for n, line in enumerate(lines) if "lines left out" in line]
    assert note == HEAD_LINES
    count = int(re.findall(r"(\d+) lines left out", lines[note])[0])
    assert count + len(lines) - 1 == 2 * 3_000
    assert len(lines) - 1 == LINES_MAX


def test_the_lead_up_is_cut_last_and_the_violation_stays() -> None:
    run = MadeUp("eu-1")
    for number in range(1_000):
        run.fault("poison", number / 100, number / 100, "eu-1")
        run.write("eu-1", 16.0 + number / 1_000)
    run.violation(20.0, "it is gone")
    lines = story(run.report)
    assert len(lines) <= LINES_MAX + 3
    assert "P3: it is gone" in lines[-1]
    notes = [line for line in lines if "lines left out" in line]
    assert len(notes) == 2
    border = next(n for n, line in enumerate(lines) if "before it" in line)
    assert len(lines) - border > 2 * border


def test_no_line_is_too_long_and_none_is_an_order_to_a_terminal() -> None:
    run = MadeUp("eu-1")
    run.write("eu-1", 1.0, what="patch " + "x" * 5_000)
    run.write("eu-1", 1.0, what=f"patch {NASTY}\nsecond line")
    run.violation(2.0, f"{NASTY}\n  and more")
    text = timeline(run.report)
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "second line" in text


# -- the page


class _Reader(HTMLParser):
    """Collects what a browser would see; fails on tags that do not match."""

    VOID = frozenset(("meta", "!doctype"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def seen(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def failing_run() -> MadeUp:
    run = MadeUp("eu-1", "eu-2", "us-1")
    run.fault("cut", 1.0, 3.0, "eu", "us")
    run.fault("herd", 1.5, None)
    run.dies("eu-2", 2.0)
    run.life("eu-2", 2.5)
    run.write("eu-1", 1.5)
    run.write("eu-1", 1.6, "none", told_s=2.5)
    run.write("eu-1", 1.7, "flag.stale")
    run.read("us-1", 2.0)
    run.violation(4.0, "it is gone")
    return run


def test_the_page_stands_alone_and_runs_nothing() -> None:
    reader = seen(page(failing_run().report))
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert not [
        value for name, value in reader.attributes if name in {"src", "href"} or name.startswith("on")
    ]
    addresses = [value for _, value in reader.attributes if "://" in value]
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


def test_everything_that_a_run_says_is_escaped() -> None:
    run = failing_run()
    run.write("eu-1", 1.0, what=NASTY)
    run.event(1.0, NASTY, "alarm", NASTY)
    run.history.lives[0].how = NASTY
    run.violation(4.0, NASTY)
    html = page(run.report, file=NASTY)
    reader = seen(html)
    assert "script" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "\x1b" not in html
    assert "\x00" not in html
    assert "<script>alert" in "".join(reader.text)


def test_the_picture_is_well_formed_and_every_mark_says_what_it_is() -> None:
    html = page(failing_run().report)
    (svg,) = re.findall(r'<svg role="img".*?</svg>', html, re.DOTALL)
    root = ET.fromstring(svg)  # noqa: S314 - we have made it
    titles = {title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert root.attrib["aria-label"]
    for wanted in (
        "cut for 2.00 s",
        "herd",
        "eu-2 as",
        "ann/1: patch a: ok",
        "ann/2: patch a: none",
        "ann/3: patch a: flag.stale",
        "ann/1000 reads",
        "P3 at 4.000 s: it is gone",
    ):
        assert [title for title in titles if wanted in title], wanted
    names = [
        text.text
        for text in root.iter("{http://www.w3.org/2000/svg}text")
        if text.attrib.get("class") == "name"
    ]
    assert names == ["everywhere", "eu-1", "eu-2", "us-1"]


def test_the_page_has_the_tables_and_the_story_of_the_text() -> None:
    report = failing_run().report
    reader = seen(page(report, file="a.json"))
    text = " ".join(reader.text)
    assert "vexil chaos replay a.json" in text
    assert reader.tags.count("table") == 4
    scopes = [value for name, value in reader.attributes if name == "scope"]
    assert {"row", "col"} <= set(scopes)
    for line in story(report):
        what = re.sub(r"^[\s\d.*>!│┌└-]+", "", line)
        assert what.split("  ")[-1].strip("│┌└- ") in text, line


def test_the_page_of_a_long_run_is_bounded() -> None:
    run = MadeUp("eu-1", "us-1")
    for number in range(MARKS_MAX):
        run.write("eu-1", 1.0 + number / 1_000)
        run.read("eu-1", 1.0 + number / 1_000)
    html = page(run.report)
    # One of each is in the legend.
    assert html.count('<circle class="ok"') <= MARKS_MAX / 2 + 1
    assert html.count('<path class="read"') <= MARKS_MAX / 2 + 1
    assert len(seen(html).tags) < 12 * MARKS_MAX


def test_every_family_of_faults_has_a_colour_of_its_own() -> None:
    assert len(families()) <= len(HUES)
    assert len(set(HUES)) == len(HUES)
    assert {KINDS[kind].begin.__module__.rpartition(".")[2] for kind in KINDS} == set(families())


# -- a real run


def test_every_death_of_a_real_run_is_told_and_none_of_its_end() -> None:
    plan = next(
        plan for plan in map(swarm.plan, range(100)) if len(plan.nodes) > 1 and len(plan.operations) < 40
    )
    crashes = (Fault(1, "crash", 1.0, (plan.nodes[0],)), Fault(2, "stop", 1.5, (plan.nodes[1],)))
    report = run_plan(replace(plan, faults=crashes))
    assert not report.violations
    text = timeline(report)
    assert re.search(rf"\* {plan.nodes[0]} +crash \(fault 1\)", text)
    assert len(re.findall(rf"{plan.nodes[0]} +dies", text)) == 1
    assert len(re.findall(rf"{plan.nodes[1]} +stops as planned", text)) == 1
    assert len(re.findall(rf"{plan.nodes[1]} +has stopped", text)) == 1
    assert text.count(" serves") == len(plan.nodes) + 2
    assert seen(page(report)).tags.count("svg") > 1
