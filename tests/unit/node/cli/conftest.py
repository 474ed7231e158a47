"""A cluster of one node and one of two, both played."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.node.cli.fake_node import FakeCluster


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path, "eu-1")


@pytest.fixture
def pair(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path, "eu-1", "us-1")
