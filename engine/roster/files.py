"""Files of people: CSV or Parquet, read in batches, with every value that is wrong named by line and field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.plans import day_number

PROBLEMS_MAX = 20
"""How many wrong values are told at once."""

BATCH_ROWS = 65_536

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises over a file that is damaged, or is not of its format."""

_BLOCK_BYTES = 4 << 20
_SHOWN_CHARACTERS = 40
_TORN = "the line"

TEXT, DAY, CODE = pa.string(), pa.date32(), pa.int16()
"""The types of a column: text, a date, a small whole number."""

_DAYS = day_number(date.min), day_number(date.max)
"""The first and the last day there is: what is added to a day between them stays far inside an int32."""

_WANTED = {TEXT: "text in UTF-8", DAY: "a date; write it like 1985-04-23", CODE: "a whole number from 0 to 32767"}


class Column(NamedTuple):
    """What a column holds. `required`: the file must have it; `filled`: and a value on every line.

    `shown`: whether a wrong value may be repeated to who brought it; accounts may not.
    """

    type: pa.DataType
    required: bool = True
    filled: bool = True
    shown: bool = True


class RefusedFile(InvalidInput):
    """A file of people cannot be taken. `discreet` says the same and repeats nothing that stands in the file."""

    def __init__(self, message: str, discreet: str) -> None:
        super().__init__(message)
        self.discreet = discreet


@dataclass
class Problems:
    """What is wrong with a file, up to PROBLEMS_MAX of it, in the order it was found.

    `discreet`: the same without the values; `hidden`: the columns whose values are never told.
    """

    path: Path
    unit: str
    found: list[str] = field(default_factory=list)
    hidden: frozenset[str] = frozenset()
    discreet: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether there is no room for more."""
        return len(self.found) >= PROBLEMS_MAX

    def add(self, line: int, name: str, value: object, wrong: str) -> None:
        """One wrong value. `wrong` says what it must be."""
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        shown = "empty" if value is None else repr(text[:_SHOWN_CHARACTERS])
        told = wrong if name in self.hidden else f"{shown}: {wrong}"
        if not self.full:
            place = f"{self.path.name}, {self.unit} {line}, {name}"
            self.found.append(f"{place}: {told}")
            self.discreet.append(f"{place}: {wrong}")

    def add_where(self, batch: pa.RecordBatch, name: str, wrong: NDArray[np.bool_], why: str) -> None:
        """A problem for each row of `batch` where the bool[n] `wrong` is set."""
        for row in np.flatnonzero(wrong)[:PROBLEMS_MAX]:
            self.add(batch["line"][row].as_py(), name, batch[name][row].as_py(), why)

    def refuse(self) -> None:
        """Raise RefusedFile when anything was found."""
        if self.found:
            more = ["and perhaps more; these are the first"] if self.full else []
            more.append("nothing was changed; correct the file and try again")
            raise RefusedFile("\n".join(self.found + more), "\n".join(self.discreet + more))


class PeopleFile:
    """An open file of people. `columns` says what it may hold; what else it holds is refused."""

    def __init__(self, path: Path, columns: Mapping[str, Column]) -> None:
        self.path, self.columns = path, columns
        self.parquet = path.suffix.lower() in (".parquet", ".pq")
        if not self.parquet and path.suffix.lower() != ".csv":
            raise InvalidInput(f"{path.name}: name the file .parquet or .csv, so that its format is known")
        hidden = {name for name, column in columns.items() if not column.shown}
        # A torn line may hold what its columns would hide.
        hidden |= {_TORN} if hidden else set()
        self.problems = Problems(path, "row" if self.parquet else "line", hidden=frozenset(hidden))

    def __enter__(self) -> Self:
        try:
            self.file: BufferedReader = self.path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{self.path}: cannot be read: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def sha256(self) -> bytes:
        """SHA-256 of the file's bytes: what an import is known by."""
        self.file.seek(0)
        return hashlib.file_digest(self.file, "sha256").digest()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, typed, with their `line` (int64), at most BATCH_ROWS at a time; bad ones go to `problems`.

        A CSV's lines count from 1 with the header, a Parquet file's rows from 1. A column the file lacks is all
        null. Raises InvalidInput when it cannot be read at all.
        """
        self.file.seek(0)
        try:
            for batch in self._parquet_batches() if self.parquet else self._csv_batches():
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield self._typed(batch.slice(start, BATCH_ROWS))
        except UNREADABLE as error:
            what, undone = f"{self.path.name}: cannot be read", "nothing was changed; write the file anew and try again"
            raise RefusedFile(f"{what}: {error}; {undone}", f"{what}; {undone}") from None

    def _parquet_batches(self) -> Iterator[pa.RecordBatch]:
        source = pyarrow.parquet.ParquetFile(self.file)
        self._check_names(source.schema_arrow.names)
        line = 1
        for batch in source.iter_batches(batch_size=BATCH_ROWS):
            batch.validate(full=True)
            yield batch.append_column("line", pa.array(np.arange(line, line + batch.num_rows)))
            line += batch.num_rows

    def _csv_batches(self) -> Iterator[pa.RecordBatch]:
        torn: list[int] = []

        def note(row: pyarrow.csv.InvalidRow) -> str:
            torn.append(row.number)
            wrong = f"has {row.actual_columns} values; the header names {row.expected_columns}"
            self.problems.add(row.number, _TORN, row.text, wrong)
            return "skip"

        reader = pyarrow.csv.open_csv(
            self.file,
            # Threads would lose the line numbers; several files' worth of lines a second are read as it is.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(invalid_row_handler=note, ignore_empty_lines=False),
            # Read as bytes and typed below, so that each wrong value is named and not only the first.
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.binary()), strings_can_be_null=True, null_values=[""]
            ),
        )
        self._check_names(reader.schema.names)
        line = 2
        for batch in reader:
            upto = line + batch.num_rows + len(torn)
            lines = np.setdiff1d(np.arange(line, upto), torn)[: batch.num_rows]
            line = int(lines[-1]) + 1 if len(lines) else line
            blank = np.logical_and.reduce([column.is_null().to_numpy(zero_copy_only=False) for column in batch.columns])
            numbered = batch.append_column("line", pa.array(lines))
            yield numbered.filter(pa.array(~blank)) if blank.any() else numbered

    def _check_names(self, names: list[str]) -> None:
        missing = [name for name, column in self.columns.items() if column.required and name not in names]
        unknown = [name for name in names if name not in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if missing or unknown or twice:
            wrong = [
                f"{what} {', '.join(map(repr, which))}"
                for what, which in (("lacks", missing), ("has the unknown", unknown), ("has twice", twice))
                if which
            ]
            known = ", ".join(name if column.required else f"[{name}]" for name, column in self.columns.items())
            head, columns = f"{self.path.name}: the header", f"the columns are {known}"
            # A file without a header has somebody's account in its place.
            raise RefusedFile(f"{head} {' and '.join(wrong)}; {columns}", f"{head} is not as it must be; {columns}")

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = {"line": batch["line"]}
        for name, column in self.columns.items():
            if name not in batch.schema.names:
                arrays[name] = pa.nulls(batch.num_rows, column.type)
                continue
            arrays[name] = self._cast(batch, name, column.type)
            if column.type == DAY:
                arrays[name] = self._only_days(batch, name, arrays[name])
            if column.filled and batch[name].null_count:
                missing = batch[name].is_null().to_numpy(zero_copy_only=False)
                self.problems.add_where(batch, name, missing, "is missing; every line needs one")
        return pa.RecordBatch.from_pydict(arrays)

    def _cast(self, batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
        """The column as `kind`; where a value does not fit, a problem and null."""
        values = batch[name]
        if isinstance(values, pa.DictionaryArray):
            values = values.dictionary_decode()
        try:
            return _as(values, kind)
        except pa.ArrowNotImplementedError:
            raise InvalidInput(f"{self.path.name}: {name} is of type {values.type}, expected {_WANTED[kind]}") from None
        except pa.ArrowInvalid:
            pass
        typed = []
        for row, value in enumerate(values):
            try:
                typed.append(_as(values.slice(row, 1), kind))
            except pa.ArrowInvalid:
                typed.append(pa.nulls(1, kind))
                self.problems.add(batch["line"][row].as_py(), name, _plain(value), f"is not {_WANTED[kind]}")
        return pa.concat_arrays(typed)

    def _only_days(self, batch: pa.RecordBatch, name: str, typed: pa.Array) -> pa.Array:
        """The dates, null where a Parquet file counts to a day that no calendar has: a problem, told as its number."""
        days, (first, last) = typed.cast(pa.int32()), _DAYS
        beyond = pc.or_(pc.less(days, first), pc.greater(days, last)).fill_null(False)
        if not pc.any(beyond).as_py():
            return typed
        for row in np.flatnonzero(beyond.to_numpy(zero_copy_only=False))[:PROBLEMS_MAX]:
            wrong = f"is a day outside the years 1 to 9999, counted from 1970-01-01; it is not {_WANTED[DAY]}"
            self.problems.add(batch["line"][row].as_py(), name, days[row].as_py(), wrong)
        return pc.if_else(beyond, pa.scalar(None, DAY), typed)


def _as(values: pa.Array, kind: pa.DataType) -> pa.Array:
    # Bytes become dates and numbers by way of text, which also checks that they are UTF-8.
    return values.cast(pa.string()).cast(kind) if pa.types.is_binary(values.type) else values.cast(kind)


def _plain(value: pa.Scalar) -> object:
    """The value as Python has it; a time too far away for that as the number it is stored as."""
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return getattr(value, "value", None)


def is_null(values: pa.Array) -> NDArray[np.bool_]:
    """bool[n]: where nothing stands."""
    nulls: NDArray[np.bool_] = pc.is_null(values).to_numpy(zero_copy_only=False)
    return nulls


def days_of(values: pa.Array, missing: int) -> NDArray[np.int32]:
    """int32[n] day numbers of a date column, `missing` where nothing stands."""
    days: NDArray[np.int32] = values.cast(pa.int32()).fill_null(missing).to_numpy()
    return days
