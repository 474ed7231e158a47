"""A flag set as one JSON document: what a node sends to its clients and a client keeps on disk.

``{"version", "bucketing", "flags": {key: flag}, "segments": {key: {"members": [...], "rules": [...]}}, "evaluators",
"metadata"}``. Reading never fails and never loses a flag for another one: a flag that cannot be read is there, broken,
and so on its off path; what is no object is an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from vexil.sdk.model import BUCKETING, FlagSet
from vexil.sdk.shapes import FLAG_TYPES, FlagDocument, SegmentDocument

UNREADABLE: Final = "the document cannot be read"
"""Why a flag is broken that came over the wire in a shape that it cannot have."""

_NO_ITEMS: Final[list[Any]] = []
_NO_MEMBERS: Final[dict[str, Any]] = {}
_TYPES: Final = {flag_type: flag_type for flag_type in FLAG_TYPES}

_READERS: Final[dict[str, tuple[Any, Callable[[Any], bool]]]] = {
    # What a member is if it is missing, and whether it can be what it is.
    "type": ("boolean", lambda value: isinstance(value, str) and value in _TYPES),
    "enabled": (False, lambda value: isinstance(value, bool)),
    "off_variant": (None, lambda value: value is None or isinstance(value, str)),
    "default": (None, lambda value: value is None or isinstance(value, str)),
    "variants": (_NO_MEMBERS, lambda value: isinstance(value, dict)),
    "rules": (_NO_ITEMS, lambda value: isinstance(value, list)),
    "targeting": (None, lambda value: value is None or isinstance(value, dict)),
    "prerequisites": (_NO_ITEMS, lambda value: isinstance(value, list)),
    "metadata": (_NO_MEMBERS, lambda value: isinstance(value, dict)),
    "client_visible": (False, lambda value: isinstance(value, bool)),
}


def flag_set_document(flag_set: FlagSet) -> dict[str, Any]:
    """The document of a flag set; members are sorted. What it shares with the set is not to be changed."""
    return {
        "version": flag_set.version,
        "bucketing": flag_set.bucketing,
        "flags": dict(flag_set.flags),
        "segments": {key: segment_document(segment) for key, segment in flag_set.segments.items()},
        "evaluators": dict(flag_set.evaluators),
        "metadata": dict(flag_set.metadata),
    }


def segment_document(segment: SegmentDocument) -> dict[str, Any]:
    """A segment as JSON: its members in order."""
    return {"members": sorted(segment["members"]), "rules": list(segment["rules"])}


def flag_set_from(document: object) -> FlagSet:
    """The flag set that a decoded document says, its flags packed. Total."""
    whole = _object(document)
    version, bucketing = whole.get("version"), whole.get("bucketing")
    return FlagSet(
        flags={key: flag_from(flag) for key, flag in _object(whole.get("flags")).items()},
        segments={key: segment_from(segment) for key, segment in _object(whole.get("segments")).items()},
        evaluators=_object(whole.get("evaluators")),
        metadata=_object(whole.get("metadata")),
        bucketing=bucketing if isinstance(bucketing, str) else BUCKETING,
        version=version if isinstance(version, str) else "",
        packed=True,
    )


def flag_from(document: object) -> FlagDocument:
    """A flag as it is evaluated, broken if it cannot be read. Members that this version does not know are left out."""
    members = _object(document)
    flag: dict[str, Any] = {}
    broken = members.get("broken", None if isinstance(document, Mapping) else UNREADABLE)
    for name, (default, is_sound) in _READERS.items():
        value = members.get(name, default)
        if not is_sound(value):
            broken = UNREADABLE
            value = default
        flag[name] = value if value or not isinstance(value, dict | list) else default
    flag["type"] = _TYPES[flag["type"]]
    if broken is not None:
        flag["broken"] = broken if isinstance(broken, str) else UNREADABLE
    return cast(FlagDocument, flag)


def segment_from(document: object) -> SegmentDocument:
    """A segment as it is evaluated; members that are no texts, and rules that are no list, are left out."""
    segment = _object(document)
    members, rules = segment.get("members"), segment.get("rules")
    return {
        "members": frozenset(member for member in _list(members) if isinstance(member, str)),
        "rules": _list(rules),
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _NO_MEMBERS


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else _NO_ITEMS
