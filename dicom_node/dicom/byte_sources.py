"""Windows into files of any size: only what is looked at is in memory, and no file is believed about lengths."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, Final

_STEP: Final = 1 << 16
_MOST_LOOKED_AT: Final = 64 << 20
"""Bytes of one file that may be looked at one by one; what is stepped over does not count."""
_MOST_INFLATED: Final = 1 << 30
"""Bytes that a deflated data set may become."""


class Flaw(Exception):
    """What is wrong with the file."""


class Short(Flaw):
    """The file ends before what it promises."""


class Damaged(Flaw):
    """The file cannot be what it says it is, or costs more than any real one."""


class Window:
    """What of a file is in memory just now.

    Attributes:
        data: the bytes in the window.
        at: where the reader stands in `data`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Begin at the start of a seekable stream."""
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        self._base = self._looked_at = 0
        self.data = b""
        self.at = 0

    @property
    def position(self) -> int:
        """Where the reader stands in the file [bytes]."""
        return self._base + self.at

    def has(self, count: int) -> bool:
        """Have `count` bytes from here on in the window; False where the file ends before.

        Raises:
            Damaged: so much of one file was looked at that it can be no header.
        """
        while self.at + count > len(self.data):
            more = self._more(max(_STEP, count))
            if not more:
                return False
            self._looked_at += len(more)
            if self._looked_at > _MOST_LOOKED_AT:
                raise Damaged(f"a header of more than {_MOST_LOOKED_AT >> 20} MiB")
            self._base += self.at
            self.data, self.at = self.data[self.at :] + more, 0
        return True

    def skip(self, count: int) -> None:
        """Step over `count` bytes without looking at them.

        Raises:
            Short: the file ends before.
        """
        beyond = self.at + count - len(self.data)
        if beyond <= 0:
            self.at += count
            return
        self._base += self.at + count
        self.data, self.at = b"", 0
        self._pass_over(beyond)

    def finish(self) -> None:
        """Look whether the rest can be what it should be."""

    def _more(self, count: int) -> bytes:
        # BufferedReader reserves what it is asked for; nobody asks for more than a long value.
        return self._stream.read(count)

    def _pass_over(self, count: int) -> None:
        missing = self._stream.tell() + count - self._size
        if missing > 0:
            raise Short(f"{missing} bytes are missing")
        self._stream.seek(count, io.SEEK_CUR)


class Inflated(Window):
    """A window into what follows in a file, inflated as far as it is looked at (PS3.5 A.5)."""

    def __init__(self, rest: Window) -> None:
        """Begin where the reader of `rest` stands."""
        super().__init__(rest._stream)
        self._stream.seek(rest.position)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated = 0
        self._tail = b""

    def finish(self) -> None:
        """The end of the deflated data tells whether it is whole.

        Raises:
            Short, Damaged: it is not.
        """
        while self._more(1 << 20):
            pass

    def _more(self, count: int) -> bytes:
        try:
            while not self._inflate.eof:
                self._tail = self._tail or self._stream.read(_STEP)
                if not self._tail:
                    raise Short("the deflated data has no end")
                found = self._inflate.decompress(self._tail, count)
                self._tail = self._inflate.unconsumed_tail
                self._inflated += len(found)
                if self._inflated > _MOST_INFLATED:
                    raise Damaged(f"deflated data that becomes more than {_MOST_INFLATED >> 20} MiB")
                if found:
                    return found
        except zlib.error:
            raise Damaged("the deflated data is none") from None
        return b""

    def _pass_over(self, count: int) -> None:
        while count:
            found = self._more(min(count, 1 << 20))
            if not found:
                raise Short(f"{count} bytes are missing")
            count -= len(found)
