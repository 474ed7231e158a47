"""What objects and fields are called, and how each field is read. The one place that knows either.

An object is a text ``<kind>/<name>``; a cell of it is addressed by a generation (a dot; ``NO_GENERATION`` for objects
and fields that have none) and a field, whose *last* part may hold any text: environment names contain no ``/``, so
everything before it can be told apart.

Names do not fail. What this version does not know, an object of another kind or a field that a newer version writes,
is *opaque*: kept, hashed and passed on like everything else, never shown, never harmful.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from vexil.crdt import change
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.limits import (
    ENVIRONMENT_NAME_BYTES_MAX,
    FLAG_KEY_BYTES_MAX,
    PROJECT_NAME_BYTES_MAX,
    SEGMENT_KEY_BYTES_MAX,
)
from vexil.crdt.policy import Policy

SYSTEM_PROJECT: Final = "_system"
"""The project of keys, projects and members. Its name is one that no user can give."""

# -- objects

FLAG: Final = "flag"
SEGMENT: Final = "segment"
FLAGD: Final = "flagd"
PROJECT: Final = "project"
KEY: Final = "key"
MEMBER: Final = "member"
PARKED: Final = "parked"
RETIRED_OBJECT: Final = "retired/incarnations"
"""Incarnations that write no more, and the seq of their last change. Opaque to readers: the replica alone reads it."""

NAME_BYTES_MAX: Final = {
    FLAG: FLAG_KEY_BYTES_MAX,
    SEGMENT: SEGMENT_KEY_BYTES_MAX,
    FLAGD: ENVIRONMENT_NAME_BYTES_MAX,
    PROJECT: PROJECT_NAME_BYTES_MAX,
    KEY: 64,
    MEMBER: 64,
    PARKED: 36,
}
"""Every kind of object, and how long a name it takes."""

# ASCII alone, so that bytes are characters; the first character keeps a leading `_` reserved.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_REGISTRATION: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


def is_name(text: str, *, bytes_max: int) -> bool:
    """Whether people may call a flag, segment, project, environment, key or slot ``text``."""
    return len(text) <= bytes_max and _NAME.fullmatch(text) is not None


def is_environment_name(text: str) -> bool:
    """Whether ``text`` can name an environment."""
    return is_name(text, bytes_max=ENVIRONMENT_NAME_BYTES_MAX)


def flag_object(key: str) -> str:
    """The object of a flag."""
    return f"flag/{key}"


def segment_object(key: str) -> str:
    """The object of a segment."""
    return f"segment/{key}"


def flagd_object(environment: str) -> str:
    """The object of what a flagd document of ``environment`` has beside its flags."""
    return f"flagd/{environment}"


def project_object(name: str) -> str:
    """The object of a project, in ``SYSTEM_PROJECT``."""
    return f"project/{name}"


def key_object(key_id: str) -> str:
    """The object of an access key, in ``SYSTEM_PROJECT``."""
    return f"key/{key_id}"


def member_object(slot: str) -> str:
    """The object of a member of the cluster, in ``SYSTEM_PROJECT``."""
    return f"member/{slot}"


def parked_object(change_id: Dot) -> str:
    """The object of a change that could not be issued again."""
    return f"{PARKED}/{change_id[0]:016x}.{change_id[1]}"


def parse_object(text: str) -> tuple[str, str] | None:
    """``(kind, name)``, or None if the object is opaque: of a kind, or by a name, that this version does not know."""
    kind, slash, name = text.partition("/")
    bytes_max = NAME_BYTES_MAX.get(kind)
    if not slash or bytes_max is None or not is_name(name, bytes_max=bytes_max):
        return None
    return kind, name


# -- fields

EXISTS: Final = change.EXISTS
DESCRIPTION: Final = "description"
OWNER: Final = "owner"
ARCHIVED: Final = "archived"
CLIENT_VISIBLE: Final = "client_visible"
TAG: Final = "tag"
VARIANT: Final = "variant"
PREREQUISITE: Final = "prerequisite"
KILL: Final = "kill"
ENABLED: Final = "enabled"
DEFAULT: Final = "default"
OFF_VARIANT: Final = "off_variant"
RULE: Final = "rule"
ORDER: Final = "order"
TARGETING: Final = "targeting"
METADATA: Final = "metadata"
MEMBER_OF_SEGMENT: Final = "member"
EVALUATOR: Final = "evaluator"
ENVIRONMENT: Final = "environment"
BUCKETING: Final = "bucketing"
RECORD: Final = "record"
REVOKED: Final = "revoked"
CURRENT: Final = "current"
INCARNATION: Final = "incarnation"
EVICTED: Final = "evicted"
PARKED_CHANGE: Final = "change"
OPAQUE: Final = "opaque"

MEMBER_PREFIX: Final = "member/"


def tag_field(tag: str) -> str:
    """A tag of a flag."""
    return f"tag/{tag}"


def variant_field(name: str) -> str:
    """A variant of a flag; holds its value."""
    return f"variant/{name}"


def prerequisite_field(flag: str) -> str:
    """A prerequisite on another flag; holds the variant that it must give."""
    return f"prerequisite/{flag}"


def kill_field(environment: str) -> str:
    """The kill switch of a flag; outside any generation."""
    return f"kill/{environment}"


def environment_field(environment: str, part: str) -> str:
    """A flag's ``ENABLED``, ``DEFAULT``, ``OFF_VARIANT``, ``ORDER`` or ``TARGETING`` in one environment."""
    return f"env/{environment}/{part}"


def rule_field(rule_id: str, *, environment: str | None = None) -> str:
    """A rule: of a flag in ``environment``, or of a segment. Holds the whole body without the id."""
    return f"rule/{rule_id}" if environment is None else f"env/{environment}/rule/{rule_id}"


def metadata_field(name: str, *, environment: str | None = None) -> str:
    """One member of the metadata: of a flag in ``environment``, or of an environment's flagd object."""
    return f"metadata/{name}" if environment is None else f"env/{environment}/metadata/{name}"


def member_field(member: str) -> str:
    """A member of a segment; holds ``True``."""
    return MEMBER_PREFIX + member


def evaluator_field(name: str) -> str:
    """A shared rule of an environment's flagd object."""
    return f"evaluator/{name}"


def project_environment_field(environment: str) -> str:
    """An environment of a project; holds ``True``."""
    return f"environment/{environment}"


def incarnation_field(incarnation: int) -> str:
    """A process that ran in a member's slot; holds ``{"node", "region"}``."""
    return f"incarnation/{incarnation:016x}"


def evicted_field(registration: str) -> str:
    """The eviction of a slot's ``registration``; holds ``{"by": author}``. It is never taken back."""
    return f"evicted/{registration}"


def parked_field(name: str) -> str:
    """What a parked change would write into the object ``name``."""
    return f"{PARKED_CHANGE}/{name}"


def is_registration(text: str) -> bool:
    """Whether ``text`` can name one joining of a slot: 16 hex digits."""
    return _REGISTRATION.fullmatch(text) is not None


def retired_field(incarnation: int) -> str:
    """An incarnation that writes no more; holds its final seq. Of `RETIRED_OBJECT`, in no generation."""
    return f"{incarnation:016x}"


class Field(NamedTuple):
    """A parsed field. ``name`` is the last part of a map entry or element, "" for a plain field."""

    part: str
    policy: Policy
    environment: str | None = None
    name: str = ""


_UNKNOWN: Final = Field(OPAQUE, Policy.OPAQUE)

_FLAG_PLAIN: Final = {
    EXISTS: Policy.GENERATION,
    DESCRIPTION: Policy.LWW,
    OWNER: Policy.LWW,
    ARCHIVED: Policy.LWW,
    CLIENT_VISIBLE: Policy.LWW,
}
_FLAG_NAMED: Final = {TAG: Policy.ELEMENT, VARIANT: Policy.ENTRY, PREREQUISITE: Policy.ENTRY}
_FLAG_ENVIRONMENT_PLAIN: Final = {
    ENABLED: Policy.LWW,
    DEFAULT: Policy.LWW,
    OFF_VARIANT: Policy.LWW,
    ORDER: Policy.LWW,
    TARGETING: Policy.LWW,
}
_FLAG_ENVIRONMENT_NAMED: Final = {RULE: Policy.ENTRY, METADATA: Policy.ENTRY}

_IN_GENERATION_PLAIN: Final = {
    SEGMENT: {EXISTS: Policy.GENERATION, DESCRIPTION: Policy.LWW, ORDER: Policy.LWW},
}
_IN_GENERATION_NAMED: Final = {SEGMENT: {RULE: Policy.ENTRY, MEMBER_OF_SEGMENT: Policy.ELEMENT}}
_PLAIN: Final = {
    PROJECT: {EXISTS: Policy.ENTRY, BUCKETING: Policy.LWW},
    KEY: {RECORD: Policy.LWW, REVOKED: Policy.ONCE},
    MEMBER: {RECORD: Policy.LWW, CURRENT: Policy.LWW},
}
_NAMED: Final = {
    FLAGD: {EVALUATOR: Policy.ENTRY, METADATA: Policy.ENTRY},
    PROJECT: {ENVIRONMENT: Policy.ELEMENT},
    MEMBER: {INCARNATION: Policy.ENTRY, EVICTED: Policy.ONCE},
    PARKED: {PARKED_CHANGE: Policy.ENTRY},
}

_PARSED_FIELDS_MAX: Final = 8192


@lru_cache(maxsize=_PARSED_FIELDS_MAX)
def flag_field(field: str) -> Field:
    """A field of a flag's generation. Total; bounded memo, since most flags share most of their field names."""
    if (policy := _FLAG_PLAIN.get(field)) is not None:
        return Field(field, policy)
    part, slash, rest = field.partition("/")
    if not slash:
        return _UNKNOWN
    if (policy := _FLAG_NAMED.get(part)) is not None:
        return Field(part, policy, None, rest)
    if part != "env":
        return _UNKNOWN
    environment, _, rest = rest.partition("/")
    if (policy := _FLAG_ENVIRONMENT_PLAIN.get(rest)) is not None:
        return Field(rest, policy, environment)
    part, slash, name = rest.partition("/")
    if slash and (policy := _FLAG_ENVIRONMENT_NAMED.get(part)) is not None:
        return Field(part, policy, environment, name)
    return _UNKNOWN


def parse_field(kind: str, generation: Dot, field: str) -> Field:
    """How ``field`` of an object of ``kind`` is read; opaque also where it stands in the wrong place."""
    in_generation = generation != NO_GENERATION
    if kind == FLAG:
        if in_generation:
            return flag_field(field)
        part, slash, environment = field.partition("/")
        return Field(KILL, Policy.OFF_WINS, environment) if slash and part == KILL else _UNKNOWN
    plain, named = (_IN_GENERATION_PLAIN, _IN_GENERATION_NAMED) if in_generation else (_PLAIN, _NAMED)
    if (policy := plain.get(kind, {}).get(field)) is not None:
        return Field(field, policy)
    part, slash, name = field.partition("/")
    if slash and (policy := named.get(kind, {}).get(part)) is not None:
        return Field(part, policy, None, name)
    return _UNKNOWN


def policy_of(name: str, generation: Dot, field: str) -> Policy:
    """The read policy of a cell by its address."""
    parsed = parse_object(name)
    return Policy.OPAQUE if parsed is None else parse_field(parsed[0], generation, field).policy
