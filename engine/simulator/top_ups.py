"""What is paid in by itself, by members or a sponsor, with their reference: `reference,amount,day` in a CSV file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from engine.errors import InvalidInput
from engine.money import MINOR_DIGITS
from engine.simulator.lines import Lines
from engine.simulator.orders import minor_of

_TYPES = {"reference": pa.string(), "amount": pa.decimal128(18, MINOR_DIGITS), "day": pa.date32()}


@dataclass(frozen=True)
class TopUps:
    """One file of them. `name`: by its content, so that the same file is paid in once; `rows`: as in the file."""

    name: str
    rows: pa.Table

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file. Raises InvalidInput."""
        try:
            content = path.read_bytes()
            options = pyarrow.csv.ConvertOptions(column_types=_TYPES, include_columns=list(_TYPES))
            rows = pyarrow.csv.read_csv(pa.BufferReader(content), convert_options=options).combine_chunks()
        except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise InvalidInput(f"--top-ups {path.name}: write reference,amount,day in a CSV file: {error}") from None
        if rows.column("amount").null_count or rows.column("day").null_count:
            raise InvalidInput(f"--top-ups {path.name}: an amount or a day is missing")
        if len(rows) and pc.min(rows.column("amount")).as_py() <= 0:
            raise InvalidInput(f"--top-ups {path.name}: an amount is not above 0")
        return cls(f"top-ups-{hashlib.sha256(content).hexdigest()[:16]}", rows)

    def by_day(self, booked_on: Callable[[date], date]) -> Iterator[tuple[date, Lines]]:
        """The lines of each day, in the order of the file. `booked_on`: the day a day's lines are booked on."""
        days = self.rows.column("day")
        booked = {day: booked_on(day) for day in pc.unique(days).to_pylist()}
        on = pc.index_in(days, pa.array(list(booked))).to_numpy()
        targets = np.array(list(booked.values()), "datetime64[D]")[on] if len(on) else np.empty(0, "datetime64[D]")
        amounts = minor_of(self.rows.column("amount").combine_chunks()) if len(on) else np.empty(0, np.int64)
        lines = Lines(self.rows.column("reference").combine_chunks(), amounts, "top-up")
        for day in np.unique(targets):
            yield day.item(), lines.chosen(np.flatnonzero(targets == day))
