"""The directories of a TIFF or BigTIFF file: its tags, every one of which must lie inside the file.

Read by hand, because what a lenient reader mends or passes over is what a broken copy looks like. A field's values
are read only when asked for, so that a tag that claims to be huge costs nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from soilpipe.ingest.readers.base import damaged, truncated

NAME = "TIFF"
_MOST_TAGS = 1000
_MOST_DIRECTORIES = 1000
_MOST_TAGS_IN_ALL = 20_000
_TYPES = {
    1: "u1",
    2: "S1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "V1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_FRACTIONS = (5, 10)
_INTEGERS = (1, 3, 4, 13, 16, 18)


@dataclass(frozen=True)
class Field:
    """``count`` values of TIFF's type ``kind``, from byte ``offset`` of the file."""

    kind: int
    count: int
    offset: int

    @property
    def size(self) -> int:
        width = int(_TYPES[self.kind][1:]) if self.kind in _TYPES else 1
        return self.count * width * (2 if self.kind in _FRACTIONS else 1)


class Directory(dict[int, Field]):
    """Tags by number, and how to read their values."""

    def __init__(self, tags: TiffTags) -> None:
        super().__init__()
        self._tags = tags
        self.next = 0

    def integers(self, tag: int, most: int) -> np.ndarray:
        """(n,) uint64; empty where there is no such tag. Raises Refused when there are more than ``most``."""
        field = self.get(tag)
        if field is None:
            return np.empty(0, np.uint64)
        if field.kind not in _INTEGERS or field.count > most:
            raise damaged(NAME, f"its tag {tag} holds {field.count} values of type {field.kind}, which cannot be")
        return np.frombuffer(self._tags.read(field), self._tags.order + _TYPES[field.kind]).astype(np.uint64)

    def integer(self, tag: int, default: int) -> int:
        """The first value."""
        values = self.integers(tag, 64)
        return int(values[0]) if len(values) else default

    def fraction(self, tag: int) -> float | None:
        field = self.get(tag)
        if field is None or field.kind != 5 or field.count != 1:
            return None
        above, below = struct.unpack(self._tags.order + "II", self._tags.read(field))
        return above / below if below else None

    def text(self, tag: int) -> str | None:
        data = self.bytes(tag, 4096)
        return data.decode("ascii", "replace") if data else None

    def bytes(self, tag: int, most: int) -> bytes | None:
        """The field as it stands, None where there is none, or one of more than ``most`` bytes."""
        field = self.get(tag)
        return self._tags.read(field) if field is not None and 0 < field.size <= most else None


class TiffTags:
    """An open TIFF file's directories. Raises Refused, when it is made or asked."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        start = self._at(0, 8, "header")
        self.order = {b"II": "<", b"MM": ">"}[start[:2]]
        (version,) = struct.unpack(self.order + "H", start[2:4])
        self.big = version == 43
        if self.big:
            word, zero, first = struct.unpack(self.order + "HHQ", self._at(4, 12, "header"))
            if (word, zero) != (8, 0):
                raise damaged(NAME, "its BigTIFF header is impossible")
        else:
            (first,) = struct.unpack(self.order + "I", start[4:8])
        self._first = first

    def directories(self) -> list[Directory]:
        """All of them, in the order of their chain; at least one."""
        found: list[Directory] = []
        seen: set[int] = set()
        tags = 0
        offset = self._first
        while offset:
            if offset in seen:
                raise damaged(NAME, "its directories form a circle")
            if len(found) == _MOST_DIRECTORIES or tags > _MOST_TAGS_IN_ALL:
                raise damaged(NAME, f"it has more than {_MOST_DIRECTORIES} directories, or tags without end")
            seen.add(offset)
            found.append(self.directory(offset))
            tags += len(found[-1])
            offset = found[-1].next
        if not found:
            raise truncated(NAME, "it has no directory of tags, which is written last")
        return found

    def directory(self, offset: int) -> Directory:
        """The directory that begins at a byte of the file."""
        tag_format, next_format = ("HHQ8s", "Q") if self.big else ("HHI4s", "I")
        head, entry = (8, 20) if self.big else (2, 12)
        (count,) = struct.unpack(self.order + ("Q" if self.big else "H"), self._at(offset, head, "directory of tags"))
        if not 1 <= count <= _MOST_TAGS:
            raise damaged(NAME, f"its directory of tags at byte {offset} says it has {count} tags")
        body = self._at(offset + head, count * entry + struct.calcsize("=" + next_format), "directory of tags")
        directory = Directory(self)
        inline = entry - struct.calcsize("=" + tag_format[:-2])
        for index in range(count):
            tag, kind, values, _ = struct.unpack_from(self.order + tag_format, body, index * entry)
            place = offset + head + (index + 1) * entry - inline
            if not kind:
                raise damaged(NAME, f"entry {index + 1} of its directory of tags is empty")
            field = Field(kind, values, place)
            if field.size > inline:
                (place,) = struct.unpack_from(self.order + next_format, body, (index + 1) * entry - inline)
                field = Field(kind, values, place)
            if field.kind in _TYPES and field.offset + field.size > self.size:
                raise truncated(NAME, f"its tag {tag} lies past the end of the file")
            directory.setdefault(tag, field)
        (directory.next,) = struct.unpack_from(self.order + next_format, body, count * entry)
        return directory

    def read(self, field: Field) -> bytes:
        return self._at(field.offset, field.size, "tags")

    def _at(self, offset: int, length: int, what: str) -> bytes:
        if offset + length > self.size:
            raise truncated(NAME, f"its {what} lies past the end of the file")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise truncated(NAME, f"it ends inside its {what}")
        return data
