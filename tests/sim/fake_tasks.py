"""What processes of a campaign are asked for in its tests: no simulation, but all that can go wrong with one."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Final, NoReturn

from vexil.chaos.campaign.summary import Kept, Summary
from vexil.chaos.campaign.worker_pool import HASH_SEED

PASSES, UNKNOWN, FAILS, DIES, HANGS, RAISES, NOISY, UNREPEATABLE = range(8)
"""Seeds by what they do; larger ones pass."""
VIRTUAL_S: Final = 10.0
MEANWHILE_S: Final = 0.5
"""For others to do what they should not."""


def run(seed: int, planted: str) -> Summary:
    """One run."""
    match seed:
        case 1:
            return _summary(seed, verdict="unknown", unknown_because=("cut never struck",))
        case 2:
            return failing(seed)
        case 3:
            os.write(2, b"the last words")
            os._exit(7)
        case 4:
            hang()
        case 5:
            raise ValueError("not on this day")
        case 6:
            os.write(1, b"noise that is no answer\n")
    return _summary(seed)


def trace(seed: int, planted: str) -> str:
    """The trace of the same run; one seed's is another one in a process that hashes differently."""
    same = seed != UNREPEATABLE or os.environ["PYTHONHASHSEED"] == HASH_SEED
    return f"trace of {seed}" if same else "another one"


def keep(seed: int, planted: str, folder: str, *, judged: bool) -> Kept:
    """The artefact of a run."""
    path = Path(folder) / f"{seed}.json"
    path.write_text("judged" if judged else "its plan alone")
    return Kept(str(path), size="large")


def make_smaller(path: str) -> Kept:
    """The same, smaller."""
    return Kept(path, size="small")


def never_smaller(path: str) -> Kept:
    """Makes it smaller for ever."""
    Path(f"{path}.begun").touch()
    hang()


def first_waits_for_another(seed: int, planted: str) -> Summary:
    """The first seed ends only when another one has begun; ``planted`` is that one, and the pipe they meet at."""
    other, _, pipe = planted.partition(" ")
    if seed in {0, int(other)}:
        with Path(pipe).open("rb" if seed == 0 else "wb"):
            pass
        if seed == 0:
            select.select([], [], [], MEANWHILE_S)
    return _summary(seed)


def mutated(seed: int, planted: str) -> Summary:
    """What a mutation gate runs: a few bugs, and a seed that fails by itself."""
    match planted, seed:
        case ("easy", 2) | ("rare", 11) | (_, 1):
            return failing(seed)
        case ("unplantable", _):
            raise AttributeError("there is nothing any more to patch")
        case ("endless", _):
            hang()
    return _summary(seed)


def mutated_soundly(seed: int, planted: str) -> Summary:
    """The same without the seed that fails by itself."""
    return mutated(seed, planted) if seed != 1 else _summary(seed)


def history(module: str, name: str, planted: str) -> list[str]:
    """Histories of a few bugs; ``module`` says whether there are any."""
    if module != "told" or name not in {"history", "crooked"}:
        return []
    return ["it did not hold"] if planted == "history" or name == "crooked" else [""]


def failing(seed: int) -> Summary:
    """A run that violates something."""
    return _summary(
        seed,
        verdict="fail",
        invariant="P5",
        violations=("P5 at 1.000 s: shown while killed",),
        verdicts={"P2": "pass", "P5": "fail"},
    )


def hang() -> NoReturn:
    """Do nothing, for ever."""
    while True:
        signal.pause()


def _summary(seed: int, **what: object) -> Summary:
    facts: dict[str, object] = {
        "verdict": "pass",
        "verdicts": {"P2": "pass", "P5": "unknown"},
        "virtual_s": VIRTUAL_S,
        "writes": 3,
        "acknowledged": 2,
        "fired": {"cut": 1},
        "struck": (("cut", "call pull", 1),),
        "trace_hash": f"trace of {seed}",
        **what,
    }
    return Summary(seed=seed, **facts)  # type: ignore[arg-type]  # a table of plain values
