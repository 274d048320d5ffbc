"""Rows of delimited text in columns, a block at a time, each with its number."""

from __future__ import annotations

import codecs
import io
from collections.abc import Collection, Generator, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from engine.custodian.ahead import ahead
from engine.custodian.readers.values import different

NOT_READ = (pa.ArrowInvalid, UnicodeDecodeError)
"""What `row_batches` raises over bytes that are not text in the encoding, or no rows."""

_BLOCK_BYTES = 2 << 20
_BLOCKS_AHEAD = 2
_LINE_BYTES_MAX = 1 << 20
_TEXT = pa.string()
_ALIKE = pa.dictionary(pa.int32(), _TEXT)

_TRAILS = "|^"
"""Separators that may be the second byte of a character in GBK, so that bytes cannot be split at them."""


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
) -> Generator[Rows]:
    """Rows of `width` text columns named by their numbers, some batches read ahead of whoever works on them.

    Columns not in `kept` are null. Of those, what is not in `apart` comes as a dictionary: rows are alike in it, and
    each different text is read once.
    """
    return ahead(_row_batches(source, width, kept, apart, separator, encoding, quotes=quotes), _BLOCKS_AHEAD)


def _row_batches(
    source: ByteStream,
    width: int,
    kept: Collection[int],
    apart: Collection[int],
    separator: str,
    encoding: str,
    *,
    quotes: bool,
) -> Iterator[Rows]:
    odd: list[Torn] = []
    # Python decodes GBK byte by byte; nearly all that is kept is ASCII, so what is not is decoded afterwards.
    late = encoding if encoding.startswith("gb") and separator not in _TRAILS else None

    def note(row: pyarrow.csv.InvalidRow) -> str:
        text = _again(row.text, late, "replace") if late else row.text
        odd.append(Torn(row.number, text, row.actual_columns))
        return "skip"

    if source.peek_line(0) is None:
        return
    if encoding.startswith("utf-8"):  # pyarrow cannot tell `note` of a row that is none
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
            invalid_row_handler=note,
            ignore_empty_lines=False,
        ),
        _as_text({names[number]: _TEXT if number in apart else _ALIKE for number in wanted}),
    )
    row, told = 1, 0
    for batch in reader:
        rows = np.arange(row, row + batch.num_rows + len(odd))
        if odd:
            rows = np.setdiff1d(rows, [each.row for each in odd])[: batch.num_rows]
        row = int(rows[-1]) + 1 if len(rows) else row
        columns = [
            _decoded(batch[wanted.index(number)], late) if number in kept else pa.nulls(batch.num_rows, _TEXT)
            for number in range(width)
        ]
        if source.mended:
            _refuse_mended(columns)
        yield Rows(pa.RecordBatch.from_arrays(columns, names), rows, odd[told:])
        told = len(odd)
    if odd[told:]:
        nothing = pa.RecordBatch.from_arrays([pa.nulls(0, _TEXT)] * width, names)
        yield Rows(nothing, np.zeros(0, np.int64), odd[told:])


def _as_text(types: dict[str, pa.DataType]) -> pyarrow.csv.ConvertOptions:
    """Only these columns, as text; what is empty is null."""
    return pyarrow.csv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        strings_can_be_null=True,
        null_values=[""],
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
