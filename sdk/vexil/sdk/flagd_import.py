"""From a flagd document to flags, one by one.

flagd's own readers refuse a whole document for one bad flag; here the bad flag is told and the others are taken. What
flagd would refuse or could not serve is an error; what it would ignore or only answer with an error when it is
evaluated is a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from vexil.sdk.errors import RuleError
from vexil.sdk.limits import FLAG_BYTES_MAX, FLAG_KEY_BYTES_MAX, LOGIC_DEPTH_MAX
from vexil.sdk.logic import KNOWN_OPERATORS
from vexil.sdk.model import FlagSet
from vexil.sdk.references import REFERENCE, References, depth_of
from vexil.sdk.shapes import FlagDocument, FlagType

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_FLAG_MEMBERS: Final = frozenset({"key", "state", "variants", "defaultVariant", "targeting", "metadata"})
_DOCUMENT_MEMBERS: Final = frozenset({"$schema", "flags", "$evaluators", "metadata"})


class Problem(NamedTuple):
    """What is wrong in a document: where, as a JSON pointer, and what."""

    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class ImportedFlag:
    """One flag of a flagd document, sound by itself. ``default`` None is the caller's code default."""

    key: str
    type: FlagType
    variants: Mapping[str, Any]
    default: str | None
    enabled: bool
    targeting: Mapping[str, Any] | None
    metadata: Mapping[str, str | int | float | bool]

    def document(self) -> FlagDocument:
        """The flag as it is evaluated, with nothing that flagd does not know."""
        return {
            "type": self.type,
            "enabled": self.enabled,
            "off_variant": None,
            "default": self.default,
            "variants": dict(self.variants),
            "rules": [],
            "targeting": None if self.targeting is None else dict(self.targeting),
            "prerequisites": [],
            "metadata": dict(self.metadata),
            "client_visible": False,
        }


@dataclass(frozen=True, slots=True)
class FlagdDocument:
    """What was read: everything sound, and what is wrong with the rest, in the order of the document."""

    flags: tuple[ImportedFlag, ...] = ()
    evaluators: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()

    def flag_set(self) -> FlagSet:
        """A flag set of the flags that are sound."""
        return FlagSet(
            flags={flag.key: flag.document() for flag in self.flags},
            evaluators=self.evaluators,
            metadata=self.metadata,
        )


def from_flagd(document: object) -> FlagdDocument:
    """Read a flagd document, as decoded JSON: ``flags`` is an object, or an array of flags with ``key``.

    Total: everything that is wrong is in ``errors`` (the flag, evaluator or member it names is left out) or
    ``warnings`` (it is taken as it is).
    """
    reader = _Reader()
    if not isinstance(document, Mapping):
        return FlagdDocument(errors=(Problem("", "the document is not an object"),))
    for name in document:
        if name not in _DOCUMENT_MEMBERS:
            reader.warn(_pointer(name), "unknown member, ignored")
    evaluators = reader.evaluators(document.get("$evaluators"))
    metadata = reader.metadata("/metadata", document.get("metadata"))
    flags = reader.flags(document.get("flags"), References(evaluators))
    return FlagdDocument(flags, evaluators, metadata, tuple(reader.warnings), tuple(reader.errors))


class _Reader:
    """Reads the parts of one document and collects what is wrong with them."""

    __slots__ = ("errors", "warnings")

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def fail(self, path: str, detail: str) -> None:
        self.errors.append(Problem(path, detail))

    def warn(self, path: str, detail: str) -> None:
        self.warnings.append(Problem(path, detail))

    def evaluators(self, written: object) -> dict[str, Any]:
        if written is None:
            return {}
        if not isinstance(written, Mapping):
            self.fail("/$evaluators", "not an object")
            return {}
        evaluators = {}
        for name, body in written.items():
            path = _pointer("$evaluators", name)
            if not isinstance(body, dict):
                self.fail(path, "not an object")
            elif (defect := _logic_defect(body)) is not None:
                self.fail(path, defect)
            else:
                evaluators[name] = body
        return evaluators

    def metadata(self, path: str, written: object) -> dict[str, Any]:
        if written is None:
            return {}
        if not isinstance(written, Mapping):
            self.fail(path, "not an object")
            return {}
        metadata = {}
        for name, value in written.items():
            if not name or not _is_scalar(value):
                self.fail(f"{path}{_pointer(name)}", "metadata is text, numbers and booleans, by names")
            else:
                metadata[name] = value
        return metadata

    def flags(self, written: object, references: References) -> tuple[ImportedFlag, ...]:
        entries: Iterable[tuple[str, object, object]]
        if isinstance(written, Mapping):
            entries = [(_pointer("flags", key), key, body) for key, body in written.items()]
        elif isinstance(written, list):
            entries = [
                (_pointer("flags", str(at)), body.get("key") if isinstance(body, Mapping) else None, body)
                for at, body in enumerate(written)
            ]
        else:
            self.fail("/flags", "neither an object nor an array")
            return ()
        flags: dict[str, ImportedFlag] = {}
        for path, key, body in entries:
            errors_before = len(self.errors)
            flag = self._flag(path, key, body, references)
            if flag is not None and flag.key in flags:
                self.fail(path, f"flag {flag.key!r} is listed twice")
            if flag is not None and len(self.errors) == errors_before:
                flags[flag.key] = flag
        return tuple(flags.values())

    def _flag(self, path: str, key: object, body: object, references: References) -> ImportedFlag | None:
        if not isinstance(key, str) or len(key) > FLAG_KEY_BYTES_MAX or not _KEY.fullmatch(key):
            self.fail(path, f"the key does not match {_KEY.pattern} or is over {FLAG_KEY_BYTES_MAX} bytes")
            return None
        if not isinstance(body, Mapping):
            self.fail(path, "not an object")
            return None
        if _bytes_of(body) > FLAG_BYTES_MAX:
            self.fail(path, f"not JSON, or more than {FLAG_BYTES_MAX} bytes of it")
            return None
        for name in body:
            if name not in _FLAG_MEMBERS:
                self.warn(f"{path}{_pointer(name)}", "unknown member, ignored")
        state = body.get("state")
        if state not in ("ENABLED", "DISABLED"):
            self.fail(f"{path}/state", "neither ENABLED nor DISABLED")
        flag_type, variants = self._variants(f"{path}/variants", body.get("variants"))
        default = body.get("defaultVariant")
        if default == "":  # what flagd itself sends for none
            default = None
        if default is not None and (not isinstance(default, str) or default not in variants):
            self.fail(f"{path}/defaultVariant", "not the name of a variant")
            default = None
        targeting = self._targeting(f"{path}/targeting", body.get("targeting"), references)
        metadata = self.metadata(f"{path}/metadata", body.get("metadata"))
        if flag_type is None:
            return None
        return ImportedFlag(key, flag_type, variants, default, state == "ENABLED", targeting, metadata)

    def _variants(self, path: str, written: object) -> tuple[FlagType | None, dict[str, Any]]:
        if not isinstance(written, Mapping) or not written:
            self.fail(path, "not an object with at least one variant")
            return None, {}
        found = set()
        for name, value in written.items():
            flag_type = _type_of(value)
            if not name:
                self.fail(path, "a variant has no name")
            elif flag_type is None:
                self.fail(f"{path}{_pointer(name)}", "neither boolean, text, number nor object")
            else:
                found.add(flag_type)
        if found == {"integer", "float"}:
            found = {"float"}
        if len(found) != 1:
            if found:
                self.fail(path, f"variants of several types: {', '.join(sorted(found))}")
            return None, dict(written)
        [flag_type] = found
        if flag_type == "float":
            return flag_type, {name: float(value) for name, value in written.items() if _type_of(value)}
        return flag_type, dict(written)

    def _targeting(self, path: str, written: object, references: References) -> dict[str, Any] | None:
        if written is None or written == {}:
            return None
        if not isinstance(written, dict):
            self.fail(path, "not an object")
            return None
        defect = _logic_defect(written)
        if defect is not None:
            self.fail(path, defect)
            return None
        try:
            expanded = references.expand(written)
        except RuleError as error:
            self.warn(path, error.details)
            return written
        for operator in sorted(_unknown_operators(expanded)):
            if operator == REFERENCE:
                self.warn(path, "a reference to an evaluator that is not there")
            else:
                self.warn(path, f"unknown operator {operator!r}")
        return written


def _type_of(value: object) -> FlagType | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "float" if isfinite(value) else None
    return "object" if isinstance(value, dict) else None


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _logic_defect(rule: object) -> str | None:
    if depth_of(rule, levels_max=LOGIC_DEPTH_MAX) > LOGIC_DEPTH_MAX:
        return f"more than {LOGIC_DEPTH_MAX} levels"
    return None


def _unknown_operators(rule: object) -> set[str]:
    unknown: set[str] = set()
    seen: set[int] = set()
    pending = [rule]
    while pending:
        value = pending.pop()
        if not isinstance(value, dict | list) or id(value) in seen:
            continue
        seen.add(id(value))
        pending.extend(value.values() if isinstance(value, dict) else value)
        if isinstance(value, dict) and len(value) == 1:
            unknown |= value.keys() - KNOWN_OPERATORS
    return unknown


def _bytes_of(body: object) -> int:
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return FLAG_BYTES_MAX + 1
    return len(text.encode(errors="surrogatepass"))


def _pointer(*names: object) -> str:
    return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in names)
