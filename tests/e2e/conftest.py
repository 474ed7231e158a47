"""One cluster a file, and what its nodes said beside a failure."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of a test file, whatever state its tests have left it in."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "data")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """The cluster of a test file with every node alive and every link whole."""
    running.make_whole()
    return running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what terminals and nodes said to the report of a failure."""
    report = yield
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    clusters = {id(each): each for each in arguments.values() if isinstance(each, Cluster)}
    if report.failed:
        for cluster in clusters.values():
            report.sections.append(("the cluster", cluster.logs()))
    return report
