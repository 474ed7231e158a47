"""A converged, idle cluster of six nodes: payload bytes on the wire and CPU time a node.

Bounds of the design: 0 payload bytes, 2 % of a core a node.
"""

from __future__ import annotations

import time

import httpx

from tests.benchmarks.cluster_process import cluster, cpu_seconds

SETTLE_S = 12
WATCHED_S = 30


def main() -> None:
    """Print both."""
    with cluster(regions="eu,us,ap", nodes=2) as config:
        time.sleep(SETTLE_S)
        nodes = config["nodes"]
        before = [(cpu_seconds(n["pid"]), _payload_bytes(n["url"])) for n in nodes]
        time.sleep(WATCHED_S)
        after = [(cpu_seconds(n["pid"]), _payload_bytes(n["url"])) for n in nodes]
    worst = max(b[0] - a[0] for a, b in zip(before, after, strict=True)) / WATCHED_S
    payload = sum(b[1] - a[1] for a, b in zip(before, after, strict=True))
    print(f"payload bytes in {WATCHED_S} s       {payload:10,.0f}     (bound 0)")
    print(f"CPU of the busiest node     {worst * 100:10.2f} %   (bound 2)")


def _payload_bytes(url: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("vexil_")
        and 'kind="payload"' in line
        and "bytes" in line
        and "_created" not in line
    )


if __name__ == "__main__":
    main()
