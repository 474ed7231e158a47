"""What a node says of a flag set: whole sets, patches, and what it knows of itself.

Reading is tolerant of what does not matter (unknown members, a bad flag among good ones) and strict where guessing
would change answers: a document that is no set, or a patch whose parts are not what they must be, is ``Nonsense`` as
a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vexil.sdk.client.status import moment
from vexil.sdk.documents import flag_from, flag_set_from, segment_from
from vexil.sdk.errors import SdkError
from vexil.sdk.model import FlagSet


class Nonsense(SdkError):
    """What a node, or a file, said cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a node says of itself beside the flags; None where it says nothing."""

    as_of: Mapping[str, float | None] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    behind: bool = False
    """It lacks what we have said that we have."""
    node: str | None = None
    region: str | None = None


class Patch(NamedTuple):
    """From one version of a set to the next."""

    from_version: str
    version: str
    document: Mapping[str, Any]

    def apply(self, flag_set: FlagSet) -> FlagSet:
        """The set that it makes of ``flag_set``, which stays as it is. Raises Nonsense."""
        document = self.document
        segments = _object(document, "segments")
        members = {
            key: (_texts(change, "add"), _texts(change, "remove"))
            for key, change in _object(segments, "members").items()
            if isinstance(change, Mapping)
        }
        bucketing = document.get("bucketing")
        return flag_set.patched(
            set_flags={key: flag_from(flag) for key, flag in _object(document, "set").items()},
            delete_flags=_texts(document, "delete"),
            set_segments={key: segment_from(segment) for key, segment in _object(segments, "set").items()},
            delete_segments=_texts(segments, "delete"),
            segment_members=members,
            evaluators=_object(document, "evaluators") if "evaluators" in document else None,
            metadata=_object(document, "metadata") if "metadata" in document else None,
            bucketing=bucketing if isinstance(bucketing, str) else None,
            version=self.version,
        )


def json_object(data: bytes) -> dict[str, Any]:
    """Decoded JSON, which is an object. Raises Nonsense."""
    try:
        read = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Nonsense(f"not JSON ({type(error).__name__})") from None
    if not isinstance(read, dict):
        raise Nonsense("not a JSON object")
    return read


def whole_set(document: Mapping[str, Any]) -> FlagSet:
    """The flag set of a document. Raises Nonsense if it is none; a bad flag in it harms only itself."""
    if not isinstance(document.get("flags"), Mapping) or not isinstance(document.get("version"), str):
        raise Nonsense("no flag set: it has no flags or no version")
    return flag_set_from(document)


def patch_of(data: bytes) -> Patch:
    """Raises Nonsense."""
    document = json_object(data)
    before, after = document.get("from"), document.get("version")
    if not isinstance(before, str) or not isinstance(after, str):
        raise Nonsense("a patch without its versions")
    return Patch(before, after, document)


def told_by_event(data: bytes) -> Told:
    """What a ``status`` event says. Raises Nonsense."""
    document = json_object(data)
    node, region = document.get("node"), document.get("region")
    return Told(
        as_of={name: moment(value) for name, value in _object(document, "as_of").items()},
        stale=tuple(sorted(_texts(document, "stale"))),
        behind=document.get("behind") is True,
        node=node if isinstance(node, str) else None,
        region=region if isinstance(region, str) else None,
    )


def told_by_headers(headers: Mapping[str, str]) -> Told:
    """What ``Vexil-As-Of`` (``eu=<time>, ap=never``) and ``Vexil-Stale`` (``ap;us``) say; never raises."""
    as_of = {}
    for part in headers.get("vexil-as-of", "").split(","):
        region, equals, value = part.strip().partition("=")
        if region and equals:
            as_of[region] = moment(value)
    stale = (name.strip() for name in headers.get("vexil-stale", "").split(";"))
    return Told(as_of=as_of, stale=tuple(sorted(name for name in stale if name)))


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Nonsense(f"{name} is not an object")
    return value


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Nonsense(f"{name} is not a list of names")
    return value
