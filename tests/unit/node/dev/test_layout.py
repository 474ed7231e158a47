"""Names and ports follow from the options alone."""

from __future__ import annotations

import pytest

from vexil.node.dev.errors import DevError
from vexil.node.dev.layout import PORT_MAX, plan


def test_nodes_are_counted_across_the_regions_in_order() -> None:
    nodes = plan(["eu", "us"], nodes=2, base_port=8100)
    assert [(node.name, node.region, node.ports) for node in nodes] == [
        ("eu-1", "eu", (8100, 8101, 8108)),
        ("eu-2", "eu", (8102, 8103, 8109)),
        ("us-1", "us", (8104, 8105, 8110)),
        ("us-2", "us", (8106, 8107, 8111)),
    ]
    assert nodes[2].url == "http://127.0.0.1:8104"
    assert nodes[2].peer_url == "http://127.0.0.1:8105"


@pytest.mark.parametrize(
    ("regions", "nodes", "base_port", "message"),
    [
        ([], 1, 8100, "at least one region"),
        (["eu", "eu"], 1, 8100, "named twice"),
        (["e/u"], 1, 8100, "not a region name"),
        (["x" * 61], 1, 8100, "not a region name"),
        (["eu"], 51, 8100, "1 to 50 nodes"),
        (["eu", "us"], 1, PORT_MAX - 4, "base port"),
    ],
)
def test_what_makes_no_cluster_is_refused(
    regions: list[str], nodes: int, base_port: int, message: str
) -> None:
    with pytest.raises(DevError, match=message):
        plan(regions, nodes=nodes, base_port=base_port)


def test_the_highest_ports_can_be_used() -> None:
    assert max(plan(["eu", "us"], nodes=1, base_port=PORT_MAX - 5)[-1].ports) == PORT_MAX
