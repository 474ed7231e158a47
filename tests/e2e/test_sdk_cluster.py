"""The SDK's client beside a real cluster: its changes, its tokens, its fail-over, and all of it dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import FLAGS, NODES, Cluster
from tests.e2e.waiting import WITHIN_S, eventually
from vexil.sdk import Client, Options

pytestmark = pytest.mark.xdist_group("e2e-sdk")

OPTIONS = Options(proxy_from_environment=False, back_off_base_s=0.2, back_off_max_s=2.0)
OFF = {"environments": {"prod": {"default": "off"}}}
ON = {"environments": {"prod": {"default": "on"}}}


@contextmanager
def client_of(cluster: Cluster, *names: str, **more: Any) -> Iterator[Client]:
    with Client(
        [cluster.url(name) for name in names], cluster.file["keys"]["server"], options=OPTIONS, **more
    ) as it:
        yield it


def test_a_write_in_one_region_is_evaluated_in_another_with_its_token(cluster: Cluster) -> None:
    cluster.create("eu-1", "sdk-tokens")
    cluster.settle()
    with client_of(cluster, "ap-1") as client:
        assert client.wait_ready(WITHIN_S)
        for number in range(10):
            wrote = cluster.ask("eu-1", "PATCH", f"{FLAGS}/sdk-tokens", OFF if number % 2 else ON)
            view = client.view(token=wrote.headers["Vexil-Token"], timeout_s=WITHIN_S)
            assert view.caught_up
            assert view.boolean("sdk-tokens", bool(number % 2)) is (number % 2 == 0)


def test_rules_segments_and_changes_of_them_reach_the_client(cluster: Cluster) -> None:
    rule = {"id": "r1", "if": {"segment": "sdk-beta"}, "serve": "on"}
    cluster.create(
        "eu-1", "sdk-rules", environments={"prod": {"enabled": True, "default": "off", "rules": [rule]}}
    )
    segments = "/api/v1/projects/demo/segments/sdk-beta"
    cluster.done("eu-1", "PUT", segments, {"members": ["u1"]})
    cluster.settle()
    with client_of(cluster, "us-1") as client:
        assert client.wait_ready(WITHIN_S)
        assert client.boolean("sdk-rules", False, {"targetingKey": "u1"}) is True
        assert client.boolean("sdk-rules", True, {"targetingKey": "u2"}) is False
        cluster.done("ap-1", "POST", f"{segments}/members", {"add": ["u2"], "remove": ["u1"]})
        eventually(lambda: client.boolean("sdk-rules", False, {"targetingKey": "u2"}))
        assert client.boolean("sdk-rules", True, {"targetingKey": "u1"}) is False
        assert client.status.connection == "stream"
        assert set(client.status.as_of) >= {"eu", "us", "ap"}


def test_with_every_node_dead_services_go_on_and_one_node_of_another_region_is_enough(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.create("eu-1", "sdk-dark")
    cluster.settle()
    cache = tmp_path / "flags"
    with client_of(cluster, "eu-1", "eu-2", "ap-1", cache_file=cache) as running:
        assert running.wait_ready(WITHIN_S)
        eventually(lambda: cache.exists() and running.status.healthy)
        token = running.status.token
        cluster.kill(*NODES)
        eventually(lambda: running.status.stale_since is not None)
        assert running.boolean("sdk-dark", False) is True
        with client_of(cluster, "eu-1", "eu-2", "ap-1", cache_file=cache) as fresh:
            assert fresh.wait_ready(WITHIN_S)
            assert fresh.boolean("sdk-dark", False) is True
            assert (fresh.status.source, fresh.status.token) == ("disk", token)
            assert fresh.status.stale_since is not None
            cluster.start("ap-1")
            cluster.patch("ap-1", "sdk-dark", OFF)
            eventually(lambda: not (running.boolean("sdk-dark", True) or fresh.boolean("sdk-dark", True)))
            assert running.status.url == fresh.status.url == cluster.url("ap-1")
