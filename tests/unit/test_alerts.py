"""The alert rules name metrics that a node exports, and each tells somebody what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from vexil.node.metrics import Metrics

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts"
STATUS: dict[str, Any] = {
    "ready": True,
    "store": {"kind": "sqlite", "state": "unavailable", "backlog": 3},
    "clock": {"offset_ms": 0, "suspect": False},
    "projects": {"shop": {"flags": 1, "changes": 2, "conflicts": 0, "quarantined": 0, "not_exportable": 0}},
    "stale_regions": ["ap"],
    "garbage": {
        "shop": {
            "collected": 1,
            "candidates": 4,
            "floor_lag": 7,
            "blocked_by": [{"node": "ap-1", "registration": "", "since": "", "waited_ms": 61_000}],
        }
    },
    "members": [{"node": "ap-1", "region": "ap", "last_heard_ms": 5, "behind_changes": 0, "behind_ms": 5}],
}


def exported() -> str:
    """The text of a node that has met everything once."""
    metrics = Metrics()
    metrics.watch(lambda: STATUS)
    metrics.alarm_divergence("shop")
    metrics.alarm_fork("shop")
    metrics.count_aside("fork")
    metrics.count_journal_full()
    metrics.count_collected("shop", 5)
    metrics.observe_garbage_round("shop", 0.1)
    metrics.count_retired("shop", 2)
    metrics.count_trimmed("shop", 9)
    return metrics.render()[0].decode()


def rules() -> list[tuple[str, str]]:
    """Name and expression of every rule of every file."""
    found: list[tuple[str, str]] = []
    for path in sorted(ALERTS.glob("*.yml")):
        names = re.findall(r"- alert: (\w+)", text := path.read_text(encoding="utf-8"))
        expressions = re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)
        assert len(names) == len(expressions), path
        assert text.count("description: ") == text.count("summary: ") == len(names), path
        found += zip(names, expressions, strict=True)
    return found


@pytest.mark.parametrize(("name", "expression"), rules())
def test_a_rule_names_metrics_that_there_are(name: str, expression: str) -> None:
    text = exported()
    named = set(re.findall(r"\bvexil_\w+", expression))
    assert named, name
    for metric in named:
        assert re.search(rf"^{metric}(\{{|\s)", text, re.MULTILINE), metric


@pytest.mark.parametrize(("name", "expression"), rules())
def test_the_first_count_of_a_counter_with_labels_is_an_alert_too(name: str, expression: str) -> None:
    for metric, window in re.findall(r"increase\((\w+)\[(\w+)\]\)", expression):
        if f"\n{metric}{{" in exported():
            assert f"({metric} unless {metric} offset {window})" in expression, name


def test_every_state_that_somebody_must_act_on_has_a_rule() -> None:
    told = {name for name, _ in rules()}
    assert told >= {
        "VexilGarbageBlocked",
        "VexilDivergence",
        "VexilFork",
        "VexilStoreAway",
        "VexilRegionStale",
    }


def test_what_blocks_garbage_is_told_by_project_and_member() -> None:
    text = exported()
    assert 'vexil_garbage_blocked_ms{node="ap-1",project="shop"} 61000.0' in text
    assert 'vexil_garbage_candidates{project="shop"} 4.0' in text
    assert 'vexil_garbage_floor_lag{project="shop"} 7.0' in text
    assert 'vexil_garbage_collected_total{project="shop"} 5.0' in text
    assert 'vexil_incarnations_retired_total{project="shop"} 2.0' in text
    assert 'vexil_log_rows_trimmed_total{project="shop"} 9.0' in text
    assert "vexil_store_available 0.0" in text
    assert "vexil_stale_regions 1.0" in text
