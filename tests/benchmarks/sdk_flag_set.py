"""What a set of 10,000 flags costs a service: until it can be asked, when one flag changes, and in memory.

Bounds: usable within 0.5 s after its bytes have arrived, 1 ms for the patch of one flag, 3 KB a flag. Every round is a
process of its own, because compiling is quicker the second time.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any, Final

from tests.benchmarks.sdk_peers.vexil_flags import context_of, document_with, flag_of
from tests.benchmarks.sdk_peers.workload import SHAPES, flag_keys, users
from vexil.sdk.documents import flag_set_from
from vexil.sdk.model import FlagSet

FLAGS: Final = 10_000
ROUNDS: Final = 7
PATCHES: Final = 200
CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.thread_time}


def main() -> None:
    """Print the table."""
    clock = sys.argv[1] if len(sys.argv) > 1 else "wall"
    if len(sys.argv) == 3:  # a round of this benchmark, started below
        print(json.dumps(memory() if sys.argv[2] == "memory" else times(CLOCKS[clock])))
        return
    rounds = [_round(clock, "times") for _ in range(ROUNDS)]
    found = {name: median(each[name] for each in rounds) for name in rounds[0]}
    weighed = _round(clock, "memory")
    size_mb = weighed["bytes"] / 1e6
    print(f"\n{FLAGS:,} flags, {size_mb:.1f} MB of JSON; median of {ROUNDS} processes, {clock} clock")
    print(f"usable after arrival              {found['usable_s']:8.3f} s    (bound 0.5)")
    print(f"  of that, decoding the JSON      {found['decoded_s']:8.3f} s")
    print(f"every flag asked for once         {found['all_s']:8.3f} s")
    print(f"patch of one flag                 {found['patch_ms']:8.3f} ms   (bound 1)")
    print(f"  and the flag asked again        {found['patch_and_ask_ms']:8.3f} ms")
    print(f"a flag, nobody has asked          {weighed['kept_kb']:8.2f} KB")
    print(f"a flag, after all were asked      {weighed['asked_kb']:8.2f} KB   (bound 3)")


def times(now: Callable[[], float]) -> dict[str, float]:
    """Seconds and milliseconds of one round."""
    body = json.dumps(document_with(FLAGS)).encode()
    context = context_of(users()[0])
    gc.collect()
    started = now()
    document = json.loads(body)
    decoded_s = now() - started
    flag_set = flag_set_from(document)
    for shape in SHAPES:
        flag_set.functions[flag_keys(shape, FLAGS)[0]](context, time.time)
    usable_s = now() - started
    ask_all(flag_set, context)
    all_s = now() - started
    patches, asked = [], []
    rules = SHAPES[1]
    for number in range(PATCHES):
        key = flag_keys(rules, FLAGS)[number]
        change = {key: flag_of(key, rules if number % 2 else SHAPES[2])}
        started = now()
        flag_set = flag_set.patched(set_flags=change, version=str(number))
        patches.append(now() - started)
        flag_set.functions[key](context, time.time)
        asked.append(now() - started)
    return {
        "decoded_s": decoded_s,
        "usable_s": usable_s,
        "all_s": all_s,
        "patch_ms": median(patches) * 1000,
        "patch_and_ask_ms": median(asked) * 1000,
    }


def memory() -> dict[str, float]:
    """Kilobytes a flag, of what the set holds."""
    body = json.dumps(document_with(FLAGS)).encode()
    context = context_of(users()[0])
    # What compiling loads and keeps for good is not a flag's.
    ask_all(flag_set_from(json.loads(json.dumps(document_with(2 * len(SHAPES))))), context)
    gc.collect()
    tracemalloc.start()
    flag_set = flag_set_from(json.loads(body))
    kept = _traced()
    ask_all(flag_set, context)
    asked = _traced()
    tracemalloc.stop()
    return {
        "bytes": len(body),
        "kept_kb": kept / FLAGS / 1000,
        "asked_kb": asked / FLAGS / 1000,
    }


def ask_all(flag_set: FlagSet, context: dict[str, Any]) -> None:
    """Every flag once."""
    for key in flag_set.flags:
        flag_set.functions[key](context, time.time)


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _round(clock: str, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.sdk_flag_set", clock, name]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


if __name__ == "__main__":
    main()
