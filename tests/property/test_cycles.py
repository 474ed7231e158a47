"""Who is on a cycle, against the definition: a node that can reach itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vexil.sdk.graph import on_cycles

NODES = "abcdefgh"
GRAPHS = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=3))


def reaches_itself(node: str, edges: dict[str, list[str]]) -> bool:
    pending, seen = list(edges[node]), set[str]()
    while pending:
        reached = pending.pop()
        if reached == node:
            return True
        if reached not in seen:
            seen.add(reached)
            pending.extend(edges.get(reached, ()))
    return False


@given(edges=GRAPHS)
def test_on_cycles_are_the_nodes_that_reach_themselves(edges: dict[str, list[str]]) -> None:
    assert on_cycles(edges) == {node for node in edges if reaches_itself(node, edges)}
