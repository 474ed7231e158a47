"""``make bench``: every benchmark, each in a process of its own, beside what this machine does bare.

``python -m tests.benchmarks`` runs all; ``python -m tests.benchmarks kernel catch_up`` those named. Absolute numbers
move by a third between machines of one kind: compare them with the reference loops printed at the top.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

BENCHMARKS = (
    "reference",
    "kernel",
    "materialising",
    "sqlite_store",
    "engine_writes",
    "http_writes",
    "catch_up",
    "push_latency",
    "node_start",
    "snapshot_join",
    "backup_restore",
    "idle_cluster",
    "garbage_pass",
    "retired_incarnations",
    "month_away",
    "sdk_evaluation",
    "sdk_client",
)
TIMEOUT_S = 600


def main() -> int:
    """Run what is named on the command line; the number of benchmarks that failed."""
    wanted = sys.argv[1:] or list(BENCHMARKS)
    unknown = sorted(set(wanted) - set(BENCHMARKS))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {_processor()}"
    )
    failed = 0
    for name in wanted:
        print(f"\n== {name}", flush=True)
        outcome = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{name}"], check=False, timeout=TIMEOUT_S
        )
        failed += outcome.returncode != 0
    return failed


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of ours
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
