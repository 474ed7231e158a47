"""Tokens: "I have seen this much of this project", as one opaque text.

A token is base64url of msgpack ``[version, project, version vector]``. It is a lower bound, never an exact state: an
entry that is left out (a very old cluster has more incarnations than fit) makes it weaker, not wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgpack

from vexil.crdt import version_vector
from vexil.node.api.limits import TOKEN_BYTES_MAX
from vexil.node.errors import TokenInvalid
from vexil.node.project import Project

VERSION: Final = 1
ENTRIES_MAX: Final = 150
"""Of 9 + 9 bytes each at most: with the longest project name still within `TOKEN_BYTES_MAX` after base64."""


def encode(project: str, vv: Mapping[int, int]) -> str:
    """The token for ``vv``. Of more than `ENTRIES_MAX` incarnations those are named that were met last."""
    if len(vv) > ENTRIES_MAX:
        vv = dict(list(vv.items())[-ENTRIES_MAX:])
    packed = msgpack.packb([VERSION, project, version_vector.encode(vv)])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(text: str, project: str) -> dict[int, int]:
    """The vector of a token of ``project``. Raises TokenInvalid for any other text."""
    if len(text) > TOKEN_BYTES_MAX:
        raise TokenInvalid(f"a token has at most {TOKEN_BYTES_MAX} characters")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, name, encoded = msgpack.unpackb(packed)
        if version != VERSION or not isinstance(encoded, bytes):
            raise ValueError("not of this version")
        vv = version_vector.decode(encoded)
    except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
        raise TokenInvalid("this is not a token that this service has given") from None
    if name != project:
        raise TokenInvalid("this token is another project's")
    return vv


class TokenMint:
    """Makes the token of a project's present state; once for each state."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        """Nothing is made yet."""
        self._made: dict[str, tuple[Project, int, str]] = {}

    def token_of(self, project: Project) -> str:
        """The token for everything that ``project`` has applied."""
        made = self._made.get(project.name)
        if made is None or made[0] is not project or made[1] != project.changes_applied:
            made = (project, project.changes_applied, encode(project.name, project.replica.vv))
            self._made[project.name] = made
        return made[2]
