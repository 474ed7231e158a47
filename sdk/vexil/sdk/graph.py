"""Which nodes of a graph lie on a cycle.

Prerequisites of flags and segments that ask for segments both may form cycles in a merge that no author made. Who is
on a cycle is a property of the whole graph, so that every reader finds the same nodes wherever it starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def on_cycles(edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The nodes that can reach themselves. What has no edges of its own need not be among ``edges``.

    Tarjan's strongly connected components ("Depth-first search and linear graph algorithms", 1972) with an explicit
    stack: a chain may be as long as there are flags. O(nodes + edges).
    """
    search = _Search(edges)
    for start in edges:
        search.visit(start)
    return frozenset(search.found)


class _Search:
    __slots__ = ("_edges", "_index", "_low", "_open", "_open_set", "_work", "found")

    def __init__(self, edges: Mapping[str, Sequence[str]]) -> None:
        self.found: set[str] = set()
        self._edges = edges
        self._index: dict[str, int] = {}
        self._low: dict[str, int] = {}
        self._open: list[str] = []
        """Nodes whose component is not complete yet."""
        self._open_set: set[str] = set()
        self._work: list[tuple[str, Iterator[str]]] = []

    def visit(self, start: str) -> None:
        if start in self._index:
            return
        self._enter(start)
        while self._work:
            node, targets = self._work[-1]
            unseen = self._next_unseen(node, targets)
            if unseen is not None:
                self._enter(unseen)
                continue
            self._work.pop()
            if self._work:
                above = self._work[-1][0]
                self._low[above] = min(self._low[above], self._low[node])
            if self._low[node] == self._index[node]:
                self._close(node)

    def _enter(self, node: str) -> None:
        self._index[node] = self._low[node] = len(self._index)
        self._open.append(node)
        self._open_set.add(node)
        self._work.append((node, iter(self._edges[node])))

    def _next_unseen(self, node: str, targets: Iterator[str]) -> str | None:
        for target in targets:
            if target not in self._edges:
                continue
            if target not in self._index:
                return target
            if target in self._open_set:
                self._low[node] = min(self._low[node], self._index[target])
        return None

    def _close(self, root: str) -> None:
        members = [self._open.pop()]
        while members[-1] != root:
            members.append(self._open.pop())
        self._open_set.difference_update(members)
        if len(members) > 1 or root in self._edges[root]:
            self.found.update(members)
