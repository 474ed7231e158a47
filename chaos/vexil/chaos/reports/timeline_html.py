"""The timeline of a run as one page: what did not hold, a picture, the verdicts, what it cost, and a table of lines.

The page needs nothing else: no network, no script. Everything that comes from the run is escaped. It follows the
reader's choice of light or dark, and says nothing by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

from vexil.chaos.checkers.catalogue import CHECKERS
from vexil.chaos.reports import measures
from vexil.chaos.reports.narrative import LEAD_UP_S, Line, Weight, chosen, clean, lines_of
from vexil.chaos.reports.timeline import facts, left_out, mark, since_work_s, violation_text
from vexil.chaos.reports.timeline_chart import chart, families, samples
from vexil.chaos.run.simulation import Report

HUES: Final = (28, 262, 195, 330, 85, 225, 300, 160, 55, 0, 120)
"""Of the families of faults, in their order; a palette goes round."""
_CLASSES: Final = {Weight.VIOLATION: "violation", Weight.FAULT: "fault", Weight.CONCERNED: "concerned"}


def page(report: Report, *, file: str = "") -> str:
    """The whole document; ``file`` is the artefact that repeats the run, if there is one."""
    title = f"seed {report.plan.seed}: {report.verdict.value}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            # Nothing may be fetched or run, whatever a value of the run has smuggled in.
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}{''.join(_colours())}</style></head>",
            "<body><main>",
            *_top(report, file),
            "<h2>What happened where</h2>",
            f'<div class="wide" tabindex="0" role="region" aria-label="Chart">{chart(report)}</div>',
            f'<ul class="legend">{"".join(f"<li>{m} {_text(t)}</li>" for m, t in samples(report.history))}</ul>',
            *_verdicts(report),
            *_measures(report),
            *_story(report),
            "</main></body></html>",
            "",
        ]
    )


def _top(report: Report, file: str) -> Iterator[str]:
    verdict = report.verdict.value
    yield f'<h1><span class="verdict {verdict}">{verdict}</span> seed {report.plan.seed}</h1>'
    for violation in report.violations:
        yield f'<p class="violated"><strong>{_text(violation_text(report, violation))}</strong></p>'
    yield '<table class="facts"><tbody>'
    for name, text in facts(report, file=file):
        if name not in {"verdicts", "violated"}:
            value = f"<code>{_text(text)}</code>" if name == "repeat" else _text(text)
            yield f'<tr><th scope="row">{_text(name)}</th><td>{value}</td></tr>'
    yield "</tbody></table>"


def _verdicts(report: Report) -> Iterator[str]:
    claims = {checker.invariant: checker.claim for checker in CHECKERS}
    yield "<h2>Verdicts</h2>"
    rows = (
        (_text(name), f'<span class="verdict {v.value}">{v.value}</span>', _text(claims.get(name, "")))
        for name, v in report.verdicts.items()
    )
    yield from _table(("invariant", "verdict", "what must hold"), rows)


def _measures(report: Report) -> Iterator[str]:
    yield "<h2>What the faults cost</h2>"
    yield (
        "<p>Share of the requests that were answered, near to the fault and elsewhere; how long other nodes lacked an "
        "acknowledged change; how long after a fault until every node had all of them.</p>"
    )
    rows = measures.rows(measures.measure(report.plan, report.history))
    yield from _table(measures.HEADINGS, (tuple(map(_text, row)) for row in rows), numeric=True)


def _story(report: Report) -> Iterator[str]:
    parts = chosen(report, lines_of(report))
    yield "<h2>Line by line</h2>"
    yield '<div class="wide" tabindex="0" role="region" aria-label="Line by line"><table class="story"><thead><tr>'
    yield '<th scope="col">seconds</th><th scope="col">mark</th><th scope="col">where</th><th scope="col">what</th>'
    yield "</tr></thead><tbody>"
    for part, (lines, hidden) in enumerate(zip(parts, left_out(*parts), strict=True)):
        if part and lines:
            yield f'<tr class="note"><th colspan="4" scope="rowgroup">the last {LEAD_UP_S:g} s before it</th></tr>'
        for index, line in enumerate(lines):
            if hidden and index == hidden.start:
                yield f'<tr class="note"><td colspan="4">… {len(hidden)} lines left out</td></tr>'
            if index not in hidden:
                yield _row(report, line)
    yield "</tbody></table></div>"


def _row(report: Report, line: Line) -> str:
    cells = (f"{since_work_s(report, line.at_s):.3f}", mark(line), line.place, line.text)
    kind = _CLASSES.get(line.weight, "")
    return f'<tr class="{kind}">' + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: bool = False) -> Iterator[str]:
    """Cells are HTML; the first of a row is its heading."""
    yield f'<div class="wide"><table class="{"numeric" if numeric else ""}"><thead><tr>'
    yield "".join(f'<th scope="col">{_text(heading)}</th>' for heading in headings)
    yield "</tr></thead><tbody>"
    for first, *others in rows:
        yield f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"
    yield "</tbody></table></div>"


def _colours() -> Iterator[str]:
    for number, family in enumerate(families()):
        hue = HUES[number % len(HUES)]
        yield f".fault.{family}{{fill:hsl({hue} 75% 82%);stroke:hsl({hue} 60% 40%)}}"
    yield "@media(prefers-color-scheme:dark){"
    for number, family in enumerate(families()):
        hue = HUES[number % len(HUES)]
        yield f".fault.{family}{{fill:hsl({hue} 40% 26%);stroke:hsl({hue} 55% 60%)}}"
    yield "}"


def _text(text: str) -> str:
    return escape(clean(text), quote=True)


STYLE: Final = """
:root{color-scheme:light dark;--ground:#fff;--lane:#f4f5f7;--text:#1c2330;--dim:#576071;--line:#d5d9e0;
--serving:#4d8b6b;--starting:#b9d8c6;--ok:#1b5fae;--bad:#b3261e;--accent:#fdecea;--concerned:#fff6dd;--fault:#f3effa}
@media(prefers-color-scheme:dark){:root{--ground:#14171c;--lane:#1c2027;--text:#e4e8ee;--dim:#a1abba;
--line:#363d48;--serving:#5aa37e;--starting:#2f5342;--ok:#7db4f5;--bad:#ff8a80;--accent:#3a1c1c;--concerned:#37301a;
--fault:#282238}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.5rem;margin:0 0 12px}h2{font-size:1.1rem;margin:32px 0 10px}
.verdict{font-size:.8em;font-weight:600;padding:1px 9px;border:1.5px solid currentColor;border-radius:10px}
.verdict.unknown{color:var(--dim)}
.verdict.fail{color:var(--bad)}.verdict.pass{color:var(--serving)}
.violated{margin:0 0 12px;padding:10px 14px;border-left:4px solid var(--bad);background:var(--accent)}
.violated,.facts td{overflow-wrap:anywhere}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
.wide:focus-visible{outline:2px solid var(--ok)}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:4px 12px}
thead th{color:var(--dim);font-weight:600;border-bottom:1px solid var(--line);white-space:nowrap}
tbody th{font-weight:600;white-space:nowrap}
tbody tr+tr>*{border-top:1px solid var(--line)}
.facts{width:auto;margin-bottom:8px}.facts th{color:var(--dim);padding-left:0}.facts tr+tr>*{border-top:0}
.facts td,.facts th{padding-block:2px}
code,.story{font:13px/1.5 ui-monospace,monospace}
.numeric td{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.numeric thead th+th{text-align:right}
.story td{padding-block:1px;border:0!important;overflow-wrap:anywhere}
.story td:nth-child(1){text-align:right;white-space:nowrap}.story td:nth-child(3){white-space:nowrap}
.story .violation{background:var(--accent);color:var(--bad);font-weight:700}
.story .fault{background:var(--fault)}.story .concerned{background:var(--concerned)}
.story .note>*:first-child{color:var(--dim);text-align:center;font-weight:600;padding-block:6px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:10px 0;font-size:13px}
.legend li{display:flex;align-items:center;gap:6px}
svg{display:block}.wide>svg{min-width:100%;height:auto}svg text{fill:var(--text);font:11px system-ui,sans-serif}
.lane{fill:var(--lane)}svg text.name{font-weight:600;font-size:13px}
svg text.time{fill:var(--dim);text-anchor:middle}.tick{stroke:var(--line);fill:none}
.serving{fill:var(--serving)}.starting{fill:var(--starting)}
.death{stroke:var(--bad);stroke-width:2.2;fill:none}.stop{fill:var(--text)}
.ok{fill:var(--ok)}.none{fill:var(--ground);stroke:var(--ok);stroke-width:1.5}
.has{fill:var(--ground);stroke:var(--dim);stroke-width:1.3}
.refused{stroke:var(--dim);stroke-width:1.6;fill:none}.asking{stroke:var(--ok);fill:none}
.read{stroke:var(--dim);stroke-width:1.5;fill:none}.read.bad{stroke:var(--bad);stroke-dasharray:2 1.5}
.moment{stroke:var(--dim);stroke-dasharray:4 3;fill:none}
svg text.moment{stroke:none;fill:var(--dim);text-anchor:end}
.violation{stroke:var(--bad);stroke-width:2;fill:none}
svg text.violation{stroke:none;fill:var(--bad);font-weight:700;text-anchor:end}
@media print{.wide{overflow:visible}}
"""
