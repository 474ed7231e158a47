"""Semantic versions as flagd's ``sem_ver`` reads them: one ``v`` before, parts that are missing are 0, no build.

A version is read once into a tuple that Python compares as SemVer 2.0.0 orders versions, and kept: a fleet has few of
them. Everything is read character by character from the left, nothing is tried twice.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, TypeAlias

from vexil.sdk.limits import VERSION_CHARACTERS_MAX, VERSIONS_KEPT_MAX

Version: TypeAlias = tuple[Any, ...]
"""Major, minor, patch, 1 for a release or 0 for what comes before it, then the identifiers of that."""


def _same_major(first: Version, second: Version) -> bool:
    return bool(first[0] == second[0])


def _same_minor(first: Version, second: Version) -> bool:
    return first[:2] == second[:2]


COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
    "^": _same_major,
    "~": _same_minor,
}


class _Versions(dict[str, Version | None]):
    """Versions by their text, as many as are kept."""

    def __missing__(self, text: str) -> Version | None:
        version = _read(text)
        if len(text) <= VERSION_CHARACTERS_MAX:
            if len(self) >= VERSIONS_KEPT_MAX:
                self.clear()
            self[text] = version
        return version


VERSIONS: Final = _Versions()


def version_of(value: object) -> Version | None:
    """The version that a text or a number says; None if it says none."""
    if isinstance(value, str):
        return VERSIONS[str(value)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return VERSIONS[str(value)]
    except ValueError:  # a number of too many digits
        return None


def compare(first: object, comparison: object, second: object) -> bool | None:
    """``sem_ver``; None, which is flagd's null, if an argument is none."""
    compared = COMPARISONS.get(comparison) if isinstance(comparison, str) else None
    one, other = version_of(first), version_of(second)
    if compared is None or one is None or other is None:
        return None
    return compared(one, other)


def _read(text: str) -> Version | None:
    if len(text) > VERSION_CHARACTERS_MAX or not text.isascii():
        return None
    if text[:1] in {"v", "V"}:
        text = text[1:]
    text, plus, build = text.partition("+")
    if plus and not all(map(_is_identifier, build.split("."))):
        return None
    numbers, dash, before = text.partition("-")
    parts = numbers.split(".")
    if len(parts) > 3 or not all(map(_is_number, parts)):
        return None
    release = (*(int(part) for part in parts), 0, 0)[:3]
    if not dash:
        return (*release, 1)
    identifiers: list[tuple[int, int, str]] = []
    for identifier in before.split("."):
        if _is_number(identifier):
            identifiers.append((0, int(identifier), ""))
        elif _is_identifier(identifier) and not identifier.isdigit():
            identifiers.append((1, 0, identifier))
        else:
            return None
    return (*release, 0, *identifiers)


def _is_number(text: str) -> bool:
    return text.isdigit() and (text == "0" or text[0] != "0")


def _is_identifier(text: str) -> bool:
    return text.replace("-", "0").isalnum()
