"""Which flags may answer otherwise in one set than in another.

A flag does if its own document is another one, and so does every flag that leans on it: that has it as a
prerequisite, or names a segment that is another one. What all flags share (evaluators, metadata, bucketing) changes
all of them. Sets that were patched share their documents, so that most of the comparing is one look at an identity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from vexil.sdk.model import FlagDocument, FlagSet
from vexil.sdk.packing import Packed, unpack

_SEGMENT: Final = b'segment"'
"""How the names of both operators that ask for a segment end in JSON."""


def changed_keys(before: FlagSet, after: FlagSet) -> frozenset[str]:
    """The keys of flags that may answer otherwise in ``after``, those included that only one of the two has."""
    keys = before.kept.keys() | after.kept.keys()
    if any(getattr(before, name) != getattr(after, name) for name in ("evaluators", "metadata", "bucketing")):
        return frozenset(keys)
    flags = {key for key in keys if _differ(before.kept.get(key), after.kept.get(key))}
    segments = {
        key
        for key in before.segments.keys() | after.segments.keys()
        if _differ(before.segments.get(key), after.segments.get(key))
    }
    if segments:
        users = _users(
            {key: _segments_named(segment.get("rules")) for key, segment in after.segments.items()}
        )
        segments = _closed(segments, users)
        if segments.intersection(_segments_named(after.evaluators)):
            return frozenset(keys)  # whichever flags refer to those
        flags |= {key for key, kept in after.kept.items() if segments.intersection(_segments_of(kept))}
    return frozenset(_closed(flags, _users(after.edges)) if after.edges else flags)


def _differ(left: object, right: object) -> bool:
    if isinstance(left, Packed) and isinstance(right, Packed):
        return left is not right and left.text != right.text
    return left is not right and left != right


def _segments_of(kept: FlagDocument | Packed) -> Iterable[str]:
    if isinstance(kept, Packed) and _SEGMENT not in kept.text:
        return ()  # to unpack every flag for the few that name one takes too long
    return _segments_named(unpack(kept))


def _users(named: Mapping[str, Iterable[str]]) -> Mapping[str, set[str]]:
    users: defaultdict[str, set[str]] = defaultdict(set)
    for key, names in named.items():
        for name in names:
            users[name].add(key)
    return users


def _closed(keys: set[str], users: Mapping[str, set[str]]) -> set[str]:
    """``keys``, and whoever uses one of them by some way."""
    found = set(keys)
    pending = list(keys)
    while pending:
        new = users.get(pending.pop(), set()) - found
        found |= new
        pending.extend(new)
    return found


def _segments_named(document: Any) -> Iterator[str]:
    pending = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            one, other = part.get("segment"), part.get("in_segment")
            if isinstance(one, str):
                yield one
            elif isinstance(one, list | tuple) and one and isinstance(one[0], str):
                yield one[0]
            if isinstance(other, list | tuple) and other and isinstance(other[-1], str):
                yield other[-1]
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)
