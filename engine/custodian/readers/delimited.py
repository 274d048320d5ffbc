"""Rows of delimited text in columns, a block at a time, each with its number."""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from engine.custodian.readers.values import different

NOT_READ = (pa.ArrowInvalid, UnicodeDecodeError)
"""What `row_batches` raises over bytes that are not text in the encoding, or no rows."""

BLOCKS_AHEAD = 2
"""How many batches `row_batches` may well make while another is worked on (`engine.ahead`)."""

_BLOCK_BYTES = 1 << 20
_LINE_BYTES_MAX = 1 << 20
_TORN_MAX = 200_000
_TEXT = pa.string()
_ALIKE = pa.dictionary(pa.int32(), _TEXT)

_TRAILS = "|^"
"""Separators that may be the second byte of a character in GBK, so that bytes cannot be split at them."""


def why(error: Exception) -> str:
    """What was wrong by one of NOT_READ; without the row, in which names and numbers stand."""
    return re.sub(r"(Expected \d+ columns, got \d+): .*", r"\1", str(error).split("\n")[0])


class ByteStream(io.RawIOBase):
    """Blocks as a file, of which whole lines may be taken first."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks: Iterator[bytes] = (block for block in blocks if block)
        self._rest = b""
        self.mended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def peek_line(self, start: int) -> bytes | None:
        """The line from byte `start` on, with its end; None after the last."""
        while (end := self._rest.find(b"\n", start)) < 0:
            block = next(self._blocks, None)
            if block is None:
                return self._rest[start:] or None
            self._rest += block
            if len(self._rest) - start > _LINE_BYTES_MAX and b"\n" not in self._rest[start:]:
                return self._rest[start:]
        return self._rest[start : end + 1]

    def mend(self) -> None:
        """Have what is no UTF-8 read as U+FFFD from here on; `mended` tells whether there was any."""
        self._blocks, self._rest = self._mended(chain([self._rest], self._blocks)), b""

    def _mended(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        for block in chain(blocks, [None]):
            data = rest + (block or b"")
            try:
                used = codecs.utf_8_decode(data, "strict", block is None)[1]
                yield data[:used]
            except UnicodeDecodeError:
                text, used = codecs.utf_8_decode(data, "replace", block is None)
                self.mended = True
                yield text.encode()
            rest = data[used:]

    def skip(self, count: int) -> None:
        """Leave out bytes that were peeked at."""
        self._rest = self._rest[count:]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Up to the buffer's length."""
        filled = 0
        while filled < len(buffer):
            if not self._rest and not (block := next(self._blocks, b"")):
                break
            self._rest = self._rest or block
            part, self._rest = self._rest[: len(buffer) - filled], self._rest[len(buffer) - filled :]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        return filled


class Torn(NamedTuple):
    """A row that is not as wide as the others: its number, its text, its fields."""

    row: int
    text: str
    cells: int


class Rows(NamedTuple):
    """A batch in columns of text, int64[n] the number of each row from 1, and what was torn on the way to it."""

    batch: pa.RecordBatch
    numbers: NDArray[np.int64]
    torn: list[Torn]


def row_batches(
    source: ByteStream,
    width: int,
    kept: Collection[int],
    apart: Collection[int],
    separator: str,
    encoding: str,
    *,
    quotes: bool = True,
) -> Iterator[Rows]:
    """Rows of `width` text columns named by their numbers.

    Columns not in `kept` are null. Of those, what is not in `apart` comes as a dictionary: rows are alike in it, and
    each different text is read once.
    """
    # Python decodes GBK byte by byte; nearly all that is kept is ASCII, so what is not is decoded afterwards.
    late = encoding if encoding.startswith("gb") and separator not in _TRAILS else None
    odd = _Odd(late)
    if source.peek_line(0) is None:
        return
    if encoding.startswith("utf-8"):  # pyarrow cannot tell `odd` of a row that is none
        source.mend()
    names, wanted = [str(number) for number in range(width)], sorted(kept)
    reader = pyarrow.csv.open_csv(
        source,
        # Threads would lose the row numbers.
        pyarrow.csv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK_BYTES,
            column_names=names,
            encoding="latin-1" if late else encoding.removesuffix("-sig"),
        ),
        pyarrow.csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if quotes else False,
            invalid_row_handler=odd.note,
            ignore_empty_lines=False,
        ),
        _as_text({names[number]: _TEXT if number in apart else _ALIKE for number in wanted}),
    )
    for batch in reader:
        columns = [
            _decoded(batch[wanted.index(number)], late) if number in kept else pa.nulls(batch.num_rows, _TEXT)
            for number in range(width)
        ]
        if source.mended:
            _refuse_mended(columns)
        yield Rows(pa.RecordBatch.from_arrays(columns, names), odd.numbers(batch.num_rows), odd.untold())
    if torn := odd.untold():
        nothing = pa.RecordBatch.from_arrays([pa.nulls(0, _TEXT)] * width, names)
        yield Rows(nothing, np.zeros(0, np.int64), torn)


class _Odd:
    """The rows of another width, kept until they are told, and their numbers until the rows beside them have theirs."""

    def __init__(self, late: str | None) -> None:
        self._late, self._row = late, 1
        self._torn: list[Torn] = []
        self._missing: deque[int] = deque()

    def note(self, row: pyarrow.csv.InvalidRow) -> str:
        """What pyarrow is to do with the row. It looks for a sound one through the whole file: so many are refused."""
        if len(self._torn) == _TORN_MAX:
            return "error"
        text = _again(row.text, self._late, "replace") if self._late else row.text
        self._torn.append(Torn(row.number, text, row.actual_columns))
        self._missing.append(row.number)
        return "skip"

    def numbers(self, count: int) -> NDArray[np.int64]:
        """int64[n]: those of the next sound rows."""
        found = np.arange(self._row, self._row + count + len(self._missing))
        if self._missing:
            found = np.setdiff1d(found, self._missing)[:count]
        self._row = int(found[-1]) + 1 if count else self._row
        while self._missing and self._missing[0] <= self._row:
            self._row = max(self._row, self._missing.popleft() + 1)
        return found

    def untold(self) -> list[Torn]:
        """Those not told yet."""
        told, self._torn = self._torn, []
        return told


def _as_text(types: dict[str, pa.DataType]) -> pyarrow.csv.ConvertOptions:
    """Only these columns, as text; what is empty is null."""
    return pyarrow.csv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        strings_can_be_null=True,
        null_values=[""],
        check_utf8=False,  # mended before, or decoded
    )


def _refuse_mended(columns: list[pa.Array]) -> None:
    if any(pc.any(pc.match_substring(different(column), "\ufffd")).as_py() for column in columns):
        raise pa.ArrowInvalid("bytes of a field that is needed are none of its characters")


def _decoded(column: pa.Array, late: str | None) -> pa.Array:
    if late is None or pc.all(pc.string_is_ascii(different(column)), min_count=0).as_py():
        return column
    known = column.dictionary_encode()
    texts = [None if text is None else _again(text, late) for text in known.dictionary.to_pylist()]
    found = pa.DictionaryArray.from_arrays(known.indices, pa.array(texts, _TEXT))
    return found if pa.types.is_dictionary(column.type) else found.dictionary_decode()


def _again(text: str, encoding: str, errors: str = "strict") -> str:
    return text.encode("latin-1").decode(encoding, errors)
