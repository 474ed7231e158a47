"""A failing run as one file: its plan, what it violates, and the hash of its trace.

The file is the plan, not the seed: it goes on repeating the run when the odds of `vexil.chaos.run.swarm` change, and it
holds a plan that no seed draws because it was made smaller. It is written for people too: indented, and without what is
as it is by default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import msgspec

from vexil.chaos.run.history import Violation
from vexil.chaos.run.plan import Plan
from vexil.chaos.run.plan_check import flaw_of

FORMAT: Final = 1
"""What ``vexil_chaos`` says at the top of the file."""
BYTES_MAX: Final = 64_000_000
LINE_CHARACTERS: Final = 140
"""What is longer is broken into a line for each of its parts."""


class BadArtefact(Exception):
    """A file that is no artefact, or none that this program can run; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One run to repeat."""

    plan: Plan
    violations: tuple[Violation, ...] = ()
    """In the order of noticing; a run ends with the first."""
    trace_hash: str = ""
    planted: str = ""
    """The bug, or the rule switched off, under which it ran: its name in the catalogue. "": none."""
    version: str = ""
    """Of the program that wrote it."""
    found: str = ""
    """How it was found, for people."""

    @property
    def invariant(self) -> str:
        """The first that did not hold; "" if all did."""
        return self.violations[0].invariant if self.violations else ""


@dataclass(frozen=True, slots=True)
class _File(Artefact):
    vexil_chaos: int = field(default=FORMAT, kw_only=True)


def version() -> str:
    """Of the installed distribution; "" in a source tree that is not installed."""
    try:
        return installed("vexil")
    except PackageNotFoundError:
        return ""


def encode(artefact: Artefact) -> bytes:
    """As the bytes of the file, UTF-8, with a line feed at the end."""
    return (_pretty({"vexil_chaos": FORMAT, **_plain(artefact)}, "") + "\n").encode()


def decode(data: bytes) -> Artefact:
    """The inverse of `encode`. Raises BadArtefact."""
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadArtefact(f"it is not JSON: {error}") from error
    if not isinstance(raw, dict) or "vexil_chaos" not in raw:
        raise BadArtefact("it is no artefact: it does not say vexil_chaos")
    if raw["vexil_chaos"] != FORMAT:
        raise BadArtefact(f"it has format {raw['vexil_chaos']!r}, and this program reads format {FORMAT}")
    try:
        found = msgspec.convert(raw, type=_File)
    except msgspec.ValidationError as error:
        raise BadArtefact(f"it is malformed: {error}") from error
    except AssertionError as error:
        raise BadArtefact("it is malformed: its world contradicts itself") from error
    # A part that this program does not know would be left out in silence, and another run repeated.
    if strange := _strange(raw, found, ""):
        raise BadArtefact(f"it says {strange}, which this program does not know")
    if flaw := flaw_of(found.plan):
        raise BadArtefact(f"its plan cannot be run: {flaw}")
    return Artefact(**{each.name: getattr(found, each.name) for each in fields(Artefact)})


def write(path: Path, artefact: Artefact) -> None:
    """Write the file, in the place of one that is there: as a whole or not at all. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(encode(artefact))
    part.replace(path)


def read(path: Path) -> Artefact:
    """Read a file. Raises BadArtefact, whose message begins with the path, also if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise BadArtefact(f"it has more than {BYTES_MAX} bytes")
        return decode(data)
    except OSError as error:
        raise BadArtefact(f"{path}: {error.strerror}") from error
    except BadArtefact as error:
        raise BadArtefact(f"{path}: {error}") from error


def _plain(value: Any) -> Any:
    """As JSON has it, without the fields of a dataclass that are as they are by default."""
    if is_dataclass(value):
        inner = {each.name: (getattr(value, each.name), each) for each in fields(value)}
        return {name: _plain(v) for name, (v, each) in inner.items() if v != _default(each)}
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value


def _pretty(value: Any, indent: str) -> str:
    """JSON in which what fits into a line is one line: a fault, an operation, a client."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(flat) <= LINE_CHARACTERS or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(key, ensure_ascii=False)}: {_pretty(v, deeper)}" for key, v in value.items()]
    else:
        items = [_pretty(v, deeper) for v in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{right}"


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _strange(raw: Any, value: Any, where: str) -> str:
    """The path of the first key in ``raw`` that ``value``, which was made of it, has no place for; "" if none."""
    inner: list[tuple[str, Any, Any]] = []
    if is_dataclass(value):
        known = {each.name for each in fields(value)}
        for key in raw:
            if key not in known:
                return f"{where}{key}"
        inner = [(f"{where}{key}.", raw[key], getattr(value, key)) for key in raw]
    elif isinstance(value, Mapping):
        inner = [(f"{where}{key}.", raw[key], value[key]) for key in raw]
    elif isinstance(value, tuple):
        inner = [(f"{where}{n}.", *both) for n, both in enumerate(zip(raw, value, strict=True))]
    return next(filter(None, (_strange(r, v, w) for w, r, v in inner)), "")
