"""A node's log file does not grow without end: a long one is set aside when the node starts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vexil.node.dev import process
from vexil.node.dev.folder import log_path, prepare
from vexil.node.dev.layout import plan


def start_and_wait(data: Path, word: str) -> None:
    """Start a node that says one word, and wait for its end."""
    command = (sys.executable, "-c", f"print({word!r})")
    with process.start_node(data, "eu-1", owner_key="", command=lambda _: command) as started:
        assert started.wait(timeout=60) == 0


def test_a_log_beyond_the_bound_is_set_aside_and_only_the_one_before_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOG_BYTES_MAX", len("first\n"))
    data = tmp_path / "data"
    prepare(data, plan(["eu"], nodes=1, base_port=8100))
    log = log_path(data, "eu-1")
    aside = log.with_name(f"{log.name}.1")
    start_and_wait(data, "first")
    start_and_wait(data, "second")
    # Exactly at the bound it goes on, beyond it there is a new one.
    assert log.read_text() == "first\nsecond\n"
    assert not aside.exists()
    start_and_wait(data, "third")
    assert (aside.read_text(), log.read_text()) == ("first\nsecond\n", "third\n")
    start_and_wait(data, "fourth")
    start_and_wait(data, "fifth")
    assert (aside.read_text(), log.read_text()) == ("third\nfourth\n", "fifth\n")
