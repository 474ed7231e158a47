"""The format of a backup file: how its bytes are framed, and how whatever else there is in a file is told from one.

A file begins with a line that names the format and its version. Frames follow, each a msgpack array ``[kind, bytes]``
in the one spelling ``92 kind c6 length bytes``; the bytes are deflated. The last frame holds a hash of everything
before it. A file is one only with that frame, with that hash, and with nothing behind it.

======== ==== ====================================================================================================
frame    kind content
======== ==== ====================================================================================================
manifest    1 msgpack map, see `Manifest`; comes first
cells       2 `vexil.crdt.snapshot_page`
keys        3 idempotency keys, as a snapshot has them
rows        4 msgpack array of encoded changes, newest first
end         5 msgpack array of the hash alone, not deflated
======== ==== ====================================================================================================

The bytes are not believed for that hash, which anybody can make: `vexil.node.backup_reading` looks into them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

import msgpack

from vexil.crdt.schema import SYSTEM_PROJECT, is_environment_name
from vexil.crdt.system_state import BUCKETINGS
from vexil.node.authoring.limits import ENVIRONMENTS_MAX
from vexil.node.gossip.snapshots import HEADER_BYTES_MAX
from vexil.node.idempotency import KEYS_MAX

VERSION: Final = 1
MANIFEST: Final = 1
CELLS: Final = 2
KEYS: Final = 3
ROWS: Final = 4
END: Final = 5
FRAME_BYTES_MAX: Final = 16 << 20
"""Of a frame's content but the manifest's: a page is only larger than usual if one cell of it is."""
MANIFEST_BYTES_MAX: Final = HEADER_BYTES_MAX + (1 << 20)
INFLATED_BYTES_MAX: Final = 4 << 30
"""Of all frames of a file together: a small file never keeps a node busy without end."""
OBJECTS_MAX: Final = 10_000_000
LEVEL: Final = 1
"""Of deflating: names and vectors shrink to a fifth, and more time would not shrink them much further."""
PROJECT_CHARACTERS_MAX: Final = 200
NODE_CHARACTERS_MAX: Final = 200
ROWS_MAX: Final = 1 << 20
"""Of one frame."""

_MAGIC: Final = re.compile(rb"vexil-backup ([1-9][0-9]{0,8})\n", re.ASCII)
_MAGIC_BYTES_MAX: Final = 23
_FRAME: Final = Struct(">BBBI")
_ARRAY_OF_TWO: Final = 0x92
_BIN32: Final = 0xC6
_HASH_BYTES: Final = 32
_INTEGER_MAX: Final = (1 << 64) - 1


class BackupError(ValueError):
    """The bytes are not a whole backup that this program can read; says in one sentence what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a file says of itself. ``header`` is the replica's; the counts are of what follows."""

    project: str
    node: str
    time_ms: int
    environments: tuple[str, ...]
    bucketing: str
    hlc: int
    header: bytes
    objects: int
    keys: int


class Encoder:
    """Makes the bytes of one file, frame by frame, in order."""

    def __init__(self) -> None:
        """Nothing has been made."""
        self._hash = blake2b(digest_size=_HASH_BYTES)

    def begin(self, manifest: Manifest) -> bytes:
        """The first bytes."""
        magic = b"vexil-backup %d\n" % VERSION
        self._hash.update(magic)
        return magic + self.frame(
            MANIFEST,
            msgpack.packb(
                {
                    "project": manifest.project,
                    "node": manifest.node,
                    "time_ms": manifest.time_ms,
                    "environments": list(manifest.environments),
                    "bucketing": manifest.bucketing,
                    "hlc": manifest.hlc,
                    "header": manifest.header,
                    "objects": manifest.objects,
                    "keys": manifest.keys,
                }
            ),
        )

    def frame(self, kind: int, content: bytes) -> bytes:
        """One frame of `CELLS`, `KEYS` or `ROWS`."""
        deflated = zlib.compress(content, LEVEL)
        raw = _FRAME.pack(_ARRAY_OF_TWO, kind, _BIN32, len(deflated)) + deflated
        self._hash.update(raw)
        return raw

    def end(self) -> bytes:
        """The last bytes."""
        content = msgpack.packb([self._hash.digest()])
        return _FRAME.pack(_ARRAY_OF_TWO, END, _BIN32, len(content)) + content


class Decoder:
    """Takes the bytes of one file apart as they come. Never holds more than one frame."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.size = 0
        self._buffer = bytearray()
        self._hash = blake2b(digest_size=_HASH_BYTES)
        self._begun = False
        self._last = 0
        self._ended = False
        self._inflated_bytes = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole by now, with their contents; all of them must be taken. Raises BackupError."""
        self.size += len(data)
        self._buffer += data
        if not self._begun:
            self._begin()
        while self._begun and self._buffer:
            if self._ended:
                raise BackupError("the file goes on behind its end")
            found = self._next()
            if found is None:
                return
            if found[0] != END:
                yield found

    def close(self) -> None:
        """No more will come. Raises BackupError if it was not all."""
        if not self._begun:
            raise BackupError("this is not a Vexil backup" if self.size else "the file is empty")
        if not self._ended:
            raise BackupError("the file ends before its end: it was cut off")

    def _begin(self) -> None:
        line = bytes(self._buffer[:_MAGIC_BYTES_MAX])
        found = _MAGIC.match(line)
        if found is None:
            if len(line) == _MAGIC_BYTES_MAX or b"\n" in line or not _may_be_magic(line):
                raise BackupError("this is not a Vexil backup")
            return
        version = int(found[1])
        if version != VERSION:
            raise BackupError(
                f"the file has format version {version}, and this program reads version {VERSION}: use a newer one"
            )
        self._hash.update(found[0])
        del self._buffer[: found.end()]
        self._begun = True

    def _next(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < _FRAME.size:
            return None
        array, kind, binary, length = _FRAME.unpack_from(self._buffer)
        if (array, binary) != (_ARRAY_OF_TWO, _BIN32) or not MANIFEST <= kind <= END:
            raise BackupError("the file is damaged: a frame that is none")
        if (kind == MANIFEST) != (self._last == 0) or kind < self._last:
            raise BackupError("the file is damaged: its frames are not in their order")
        limit = MANIFEST_BYTES_MAX if kind == MANIFEST else FRAME_BYTES_MAX
        if length > limit:
            raise BackupError(f"the file is damaged: a frame of {length} bytes")
        size = _FRAME.size + length
        if len(self._buffer) < size:
            return None
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._last = kind
        content = raw[_FRAME.size :]
        if kind == END:
            if content != msgpack.packb([self._hash.digest()]):
                raise BackupError("the file is damaged: it does not have the hash that it says")
            self._ended = True
            return kind, b""
        self._hash.update(raw)
        plain = _inflated(content, limit)
        self._inflated_bytes += len(plain)
        if self._inflated_bytes > INFLATED_BYTES_MAX:
            raise BackupError(f"the file has more than {INFLATED_BYTES_MAX} bytes in it")
        return kind, plain


def decode_manifest(content: bytes) -> Manifest:
    """What a file says of itself. Raises BackupError, nothing else, whatever the bytes."""
    found = _unpacked(content)
    if not isinstance(found, dict):
        raise BackupError("the manifest is not a map")
    environments = found.get("environments")
    manifest = Manifest(
        project=_text(found, "project", PROJECT_CHARACTERS_MAX),
        node=_text(found, "node", NODE_CHARACTERS_MAX),
        time_ms=_integer(found, "time_ms"),
        environments=tuple(environments) if isinstance(environments, list) else (),
        bucketing=_text(found, "bucketing", NODE_CHARACTERS_MAX),
        hlc=_integer(found, "hlc"),
        header=_bytes(found, "header"),
        objects=_integer(found, "objects"),
        keys=_integer(found, "keys"),
    )
    if (
        not isinstance(environments, list)
        or len(environments) > ENVIRONMENTS_MAX
        or not all(type(name) is str and is_environment_name(name) for name in environments)
        or manifest.bucketing not in BUCKETINGS
        or manifest.keys > KEYS_MAX
        or manifest.objects > OBJECTS_MAX
        or not manifest.project
    ):
        raise BackupError("the manifest does not make sense")
    return manifest


def is_system(manifest: Manifest) -> bool:
    """Whether the file is of the cluster's own project: projects, keys, members."""
    return manifest.project == SYSTEM_PROJECT


def encode_rows(raws: Sequence[bytes]) -> bytes:
    """The content of a frame of rows."""
    return bytes(msgpack.packb(list(raws)))


def decode_rows(content: bytes) -> list[bytes]:
    """The encoded changes of a frame, not looked into. Raises BackupError."""
    rows = _unpacked(content)
    if not isinstance(rows, list) or len(rows) > ROWS_MAX or not all(type(row) is bytes for row in rows):
        raise BackupError("a frame of rows that is none")
    return rows


def _may_be_magic(line: bytes) -> bool:
    name = b"vexil-backup "
    return line.startswith(name) if len(line) > len(name) else name.startswith(line)


def _inflated(content: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(content, limit)
    except zlib.error:
        raise BackupError("the file is damaged: a frame that cannot be inflated") from None
    if not inflater.eof or inflater.unused_data:
        raise BackupError("the file is damaged: a frame that is not of its size")
    return plain


def _unpacked(content: bytes) -> Any:
    try:
        return msgpack.unpackb(content, timestamp=0)
    except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk; all mean the same here
        raise BackupError(f"a frame that is not msgpack: {type(error).__name__}") from None


def _text(found: Mapping[str, Any], name: str, characters_max: int) -> str:
    value = found.get(name)
    if type(value) is not str or len(value) > characters_max:
        raise BackupError(f"the manifest's {name} is not a short text")
    return value


def _integer(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value <= _INTEGER_MAX:
        raise BackupError(f"the manifest's {name} is not a number")
    return value


def _bytes(found: Mapping[str, Any], name: str) -> bytes:
    value = found.get(name)
    if type(value) is not bytes or len(value) > HEADER_BYTES_MAX:
        raise BackupError(f"the manifest's {name} is not bytes")
    return value
