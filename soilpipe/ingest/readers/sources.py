"""Files as libvips reads them, with a count of how far the decoder asked for them.

libjpeg says nothing when coded data are left over after the last row, as they are after a hole or a wrong height in the
header; what the decoder never asked for tells of them.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
from typing import BinaryIO, Protocol

import pyvips

STEP = 64
"""Bytes: how exactly the end of a small file is counted."""
_SLOW_BYTES = 1024
_PIPED_FROM = 1 << 22
"""Bytes. libvips asks for 4 KiB at a time. In larger files a call into Python for each of them, while other threads
write a band, makes the decoder wait for as long as it decodes; what can be left over there is tens of kilobytes, one
row of blocks."""
_PIPE_BYTES = 1 << 20
_LOOK_UP_S = 0.05


class Counted(Protocol):
    """``source`` is for libvips; ``given``: how many bytes of the file it took, and at most 4 KiB more.

    ``failure``: the file could not be read (a disk or a network that fails), which is no fault of the image.
    """

    source: pyvips.Source
    failure: OSError | None

    @property
    def given(self) -> int: ...
    def close(self) -> None: ...


def source_of(file: BinaryIO, counted: bool) -> Counted:
    """``file`` from its beginning; it must stay open until the source is closed.

    ``counted``: whether `given` is wanted; else the decoder reads a large file by itself, which costs least.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size < _PIPED_FROM or not _has_descriptor(file):
        return CalledSource(file, size)
    if not counted:
        return PlainSource(file, size)
    return PipedSource(file) if hasattr(os, "splice") else CalledSource(file, size)  # Linux has it


def _has_descriptor(file: BinaryIO) -> bool:
    """Whether the operating system knows the file; what lies in memory, as a strip of a TIFF does, it doesn't."""
    try:
        file.fileno()
    except OSError:
        return False
    return True


class PlainSource:
    """A file that nobody counts."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.given = size
        self.failure: OSError | None = None
        self.source = pyvips.Source.new_from_descriptor(file.fileno())

    def close(self) -> None:
        """Nothing to be done: the file is the caller's."""


class CalledSource:
    """Every piece is asked of us. The last kilobyte is given in small steps, for the count to be exact there."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.given = 0
        self.failure: OSError | None = None
        self.source = pyvips.SourceCustom()
        self.source.on_read(self._read)
        self.source.on_seek(self._seek)

    def close(self) -> None:
        """Nothing to be done: the file is the caller's."""

    def _read(self, length: int) -> bytes:
        left = self._size - self._file.tell()
        try:
            data = self._file.read(min(length, STEP if left <= _SLOW_BYTES else left - _SLOW_BYTES))
        except OSError as error:  # libvips would make an end of the file of it
            self.failure = error
            return b""
        self.given = self._file.tell()
        return data

    def _seek(self, offset: int, whence: int) -> int:
        self.given = self._file.seek(offset, whence)
        return self.given


class PipedSource:
    """A thread moves the file into a pipe, a megabyte at a time and without copying it; libvips reads the pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file.fileno()
        self.failure: OSError | None = None
        os.lseek(self._file, 0, os.SEEK_SET)
        self._out, self._in = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._stopped = False
        self.source = pyvips.Source.new_from_descriptor(self._out)  # which it duplicates
        self._moving = threading.Thread(target=self._move, name="soilpipe-pipe", daemon=True)
        self._moving.start()

    @property
    def given(self) -> int:
        while True:
            moved = os.lseek(self._file, 0, os.SEEK_CUR)
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._out, termios.FIONREAD, b"\0\0\0\0"))
            if moved == os.lseek(self._file, 0, os.SEEK_CUR):  # nothing moved between the two
                return moved - waiting

    def close(self) -> None:
        """Ends the thread, wherever it is."""
        self._stopped = True
        self._moving.join()
        os.close(self._out)

    def _move(self) -> None:
        try:
            while not self._stopped:
                if not select.select([], [self._in], [], _LOOK_UP_S)[1]:
                    continue
                try:
                    if not os.splice(self._file, self._in, _PIPE_BYTES, flags=os.SPLICE_F_NONBLOCK):
                        return
                except BlockingIOError:  # less room than it looked
                    continue
        except BrokenPipeError:
            return
        except OSError as error:
            self.failure = error
        finally:
            os.close(self._in)
