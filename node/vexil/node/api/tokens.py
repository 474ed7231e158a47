"""Tokens: "I have seen this much of this project", as one opaque text.

A token is base64url of msgpack ``[version, project, version vector, vector of `_system`]``. It is a lower bound, never
an exact state: an entry that is left out (a very old cluster has more incarnations than fit) makes it weaker, not
wrong. The last part names the changes of `_system` that made the project and its environments what they are: a node
that has not heard of the project yet knows from it that it has something to wait for. It may be missing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import msgpack

from vexil.crdt import cell, schema, version_vector
from vexil.node.api.limits import TOKEN_BYTES_MAX
from vexil.node.directory import Directory
from vexil.node.errors import TokenInvalid
from vexil.node.project import Project

VERSION: Final = 1
ENTRIES_MAX: Final = 150
"""Of 9 + 9 bytes each at most: with the longest project name still within `TOKEN_BYTES_MAX` after base64."""
SYSTEM_ENTRIES_MAX: Final = 12
"""The same of the vector of `_system`: so many places have made a project and its environments; as a rule one."""


class Seen(NamedTuple):
    """What a token says: so much of ``project``, and so much of `_system`."""

    project: str
    vv: dict[int, int]
    system: dict[int, int]


def encode(
    project: str,
    vv: Mapping[int, int],
    *,
    system: Mapping[int, int] | None = None,
    preferred: Collection[int] = (),
) -> str:
    """The token for ``vv``.

    Of more than `ENTRIES_MAX` incarnations the ``preferred`` come first (those that still write: what a caller has
    just seen is theirs), then those that come last in ``vv``.
    """
    parts = [VERSION, project, version_vector.encode(_cut(vv, ENTRIES_MAX, preferred))]
    if system:
        parts.append(version_vector.encode(_cut(system, SYSTEM_ENTRIES_MAX, preferred)))
    return base64.urlsafe_b64encode(msgpack.packb(parts)).decode().rstrip("=")


def decode(text: str, project: str) -> dict[int, int]:
    """The vector of a token of ``project``. Raises TokenInvalid for any other text."""
    return decode_all(text, project).vv


def decode_all(text: str, project: str) -> Seen:
    """Everything that a token of ``project`` says. Raises TokenInvalid for any other text."""
    if len(text) > TOKEN_BYTES_MAX:
        raise TokenInvalid(f"a token has at most {TOKEN_BYTES_MAX} characters")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, name, *encoded = msgpack.unpackb(packed)
        if version != VERSION or len(encoded) not in (1, 2) or not all(isinstance(e, bytes) for e in encoded):
            raise ValueError("not of this version")
        vectors = [version_vector.decode(e) for e in encoded]
    except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
        raise TokenInvalid("this is not a token that this service has given") from None
    if name != project:
        raise TokenInvalid("this token is another project's")
    return Seen(project, vectors[0], vectors[1] if len(vectors) > 1 else {})


def join(left: Seen, right: Seen) -> Seen:
    """What both together say of one project."""
    return Seen(
        left.project,
        version_vector.join(left.vv, right.vv),
        version_vector.join(left.system, right.system),
    )


def _cut(vv: Mapping[int, int], entries_max: int, preferred: Collection[int]) -> Mapping[int, int]:
    if len(vv) <= entries_max:
        return vv
    kept = [incarnation for incarnation in preferred if incarnation in vv][:entries_max]
    taken = set(kept)
    others = [incarnation for incarnation in vv if incarnation not in taken]
    kept += others[len(others) - (entries_max - len(kept)) :]
    return {incarnation: vv[incarnation] for incarnation in kept}


def _made_by(directory: Directory, project: str) -> dict[int, int]:
    """The changes of `_system` that made ``project`` what it is there, as a vector."""
    found: dict[int, int] = {}
    for fields in directory.system.replica.cells(schema.project_object(project)).values():
        for packed in fields.values():
            for lane in cell.live(packed):
                found[lane.incarnation] = max(found.get(lane.incarnation, 0), lane.seq)
    return found


class TokenMint:
    """Makes the token of a project's present state; once for each state."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        """Nothing is made yet."""
        self._made: dict[str, tuple[Project, tuple[int, int], str]] = {}

    def token_of(
        self, project: Project, directory: Directory, *, wrote: int | None = None, seen: Seen | None = None
    ) -> str:
        """The token for everything that ``project`` has applied.

        The incarnation ``wrote`` is in it in any case; and all of ``seen``, what the caller's token had and this node
        has not: who goes on with this token must not fall behind what he has seen elsewhere.
        """
        if seen is not None or (wrote is not None and len(project.replica.vv) > ENTRIES_MAX):
            return _encoded(project, directory, wrote, seen)
        state = (project.changes_applied, directory.system.changes_applied)
        made = self._made.get(project.name)
        if made is None or made[0] is not project or made[1] != state:
            made = (project, state, _encoded(project, directory, None, None))
            self._made[project.name] = made
        return made[2]


def _encoded(project: Project, directory: Directory, wrote: int | None, seen: Seen | None) -> str:
    first = () if wrote is None else (wrote,)
    current = (member.current for member in directory.members.values() if member.registered)
    preferred = dict.fromkeys((*first, *(i for i in current if i is not None)))
    vv: Mapping[int, int] = project.replica.vv
    system = {} if project.name == schema.SYSTEM_PROJECT else _made_by(directory, project.name)
    if seen is not None:
        vv = version_vector.join(
            vv, {i: seq for i, seq in seen.vv.items() if i not in project.replica.retired}
        )
        system = version_vector.join(system, seen.system)
    return encode(project.name, vv, system=system, preferred=preferred)
