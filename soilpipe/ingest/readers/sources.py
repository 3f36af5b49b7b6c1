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
import time
from typing import BinaryIO, Protocol

import pyvips

STEP = 64
"""Bytes: how exactly the end of a small file is counted."""
_SLOW_BYTES = 1024
_PIPED_FROM = 1 << 22
"""Bytes. libvips asks for 4 KiB at a time. In larger files a call into Python for each of them, while other threads
write a band, makes the decoder wait for as long as it decodes."""
_STEPPED_BYTES = 1 << 13
"""The end of a large file goes through the pipe in packets of STEP, so that a hole of 4 KiB there is seen."""
_PIPE_BYTES = 1 << 20
_LOOK_UP_S, _DRAINED_S = 0.05, 0.001


class Counted(Protocol):
    """``source`` is for libvips; ``given``: bytes of the file it took, and at most 4 KiB more (STEP at its end).

    ``failure``: the file could not be read (a disk or a network that fails), which is no fault of the image.
    """

    source: pyvips.Source

    @property
    def failure(self) -> OSError | None: ...
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
        self._file = file.fileno()
        self.source = pyvips.Source.new_from_descriptor(self._file)  # which it duplicates: they share one position

    @property
    def failure(self) -> OSError | None:
        """Asked once libvips failed, which does not say of what: whether the file can be read where it stopped."""
        at = os.lseek(self._file, 0, os.SEEK_CUR)
        first = max(0, at - _PIPE_BYTES)
        try:
            while data := os.pread(self._file, min(_PIPE_BYTES, at + _PIPE_BYTES - first), first):
                first += len(data)
        except OSError as error:
            return error
        return None

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
        self._stepped_from = os.lseek(self._file, 0, os.SEEK_END) - _STEPPED_BYTES
        self.failure: OSError | None = None
        os.lseek(self._file, 0, os.SEEK_SET)
        self._out, self._in = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._stopped = self._stepping = False
        self.source = pyvips.Source.new_from_descriptor(self._out)  # which it duplicates
        self._moving = threading.Thread(target=self._move, name="soilpipe-pipe", daemon=True)
        self._moving.start()

    @property
    def given(self) -> int:
        while True:
            moved = os.lseek(self._file, 0, os.SEEK_CUR)
            waiting = self._waiting()
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
                    if not self._move_some():
                        return
                except BlockingIOError:  # less room than it looked
                    continue
        except BrokenPipeError:
            return
        except OSError as error:
            self.failure = error
        finally:
            os.close(self._in)

    def _waiting(self) -> int:
        """Bytes in the pipe."""
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._out, termios.FIONREAD, b"\0\0\0\0"))
        return int(waiting)

    def _move_some(self) -> int:
        """How many bytes went into the pipe. Near the end of the file they are packets, read one at a time."""
        at = os.lseek(self._file, 0, os.SEEK_CUR)
        if at < self._stepped_from:
            most = min(_PIPE_BYTES, self._stepped_from - at)
            return os.splice(self._file, self._in, most, flags=os.SPLICE_F_NONBLOCK)
        if not self._stepping:
            # A read that begins before the first packet and ends in it would lose the packet's rest.
            while self._waiting() and not self._stopped:
                time.sleep(_DRAINED_S)
            fcntl.fcntl(self._in, fcntl.F_SETFL, os.O_DIRECT)
            self._stepping = True
        return os.write(self._in, os.read(self._file, STEP))
