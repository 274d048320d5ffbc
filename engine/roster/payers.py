"""Who pays for whom in a roster file: the seats of the payers it names, looked up a shard at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.roster.changes import Kind, current_columns
from engine.roster.columns import ALONE, Columns
from engine.roster.files import PROBLEMS_MAX, Problems, is_null
from engine.roster.members import Newcomers, last_seats
from engine.store.arrays import copy_in
from engine.store.tables import PLAN_STRIDE, SHARD_SEATS, roster_changes

_SELF = "is the member; leave it empty, so that the member pays"
_CHAINED = "is paid for by another; name somebody who pays for themself"
_LEFT = "has left by the day the member joined; a payer is a member in force"
_UNKNOWN = "is no member of the plan, and stands nowhere in the file"


@dataclass(frozen=True)
class _Named:
    """Members and who they say pays for them, elsewhere than in their part of the file.

    `refs`: string[n], the payers; `payers` their seats, ALONE where not known yet; `seats`, `lines`, `joined_on` of the
    members: int64[n], the last a day number.
    """

    refs: pa.StringArray
    payers: NDArray[np.int64]
    seats: NDArray[np.int64]
    lines: NDArray[np.int64]
    joined_on: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> _Named:
        return _Named(
            self.refs.filter(pa.array(chosen)),
            self.payers[chosen],
            self.seats[chosen],
            self.lines[chosen],
            self.joined_on[chosen],
        )


@dataclass
class Payers:
    """The payers of one roster file. Most stand near those they pay for; the others are looked up.

    Payers who come later in the file than a shard's end are written as changes at the end of it. What cannot be goes to
    `problems`.
    """

    plan_id: int
    problems: Problems
    elsewhere: list[_Named] = field(default_factory=list)

    async def seated(
        self, connection: AsyncConnection, people: Newcomers, refs: pa.StringArray, columns: Columns
    ) -> Columns:
        """The newcomers' columns with their payers' seats; `refs` string[n], null for who pays for themself."""
        named = ~is_null(refs)
        if not named.any():
            return columns
        rows, first_seat = np.flatnonzero(named), people.place.first_seat + people.place.seats
        payers = refs.filter(pa.array(named))
        positions = pc.index_in(payers, value_set=people.refs).fill_null(ALONE).to_numpy().astype(np.int64)
        here = positions >= 0
        seats = np.where(here, positions + first_seat, ALONE)
        seats[~here] = await last_seats(connection, self.plan_id, payers.filter(pa.array(~here)))
        away = _Named(payers, seats, rows + first_seat, people.lines[rows], columns.shares_from[rows].astype(np.int64))
        if not here.all():
            self.elsewhere.append(away.where(~here))
        there, at = away.where(here), positions[here]
        self._refuse(there, at == rows[here], _SELF)
        self._refuse(there, named[at] & (at != rows[here]), _CHAINED)
        self._refuse(there, columns.ended_on[at] <= there.joined_on, _LEFT)
        payer = np.full(len(people), ALONE, np.int32)
        payer[rows] = seats
        return replace(columns, payer=payer)

    async def settle(self, connection: AsyncConnection, import_id: int) -> None:
        """Once everybody of the file has a seat: look up who had none yet, and check those of other shards."""
        known = [await self._found_late(connection, named, import_id) for named in self.elsewhere]
        self.elsewhere = []
        numbers = [named.payers // SHARD_SEATS + 1 for named in known]
        for number in np.unique(np.concatenate([np.empty(0, np.int64), *numbers])).tolist():
            _, _, columns = await current_columns(connection, self.plan_id * PLAN_STRIDE + number)
            payer = columns.filled("payer")
            for named, there in zip(known, numbers, strict=True):
                chosen = named.where(there == number)
                at = chosen.payers % SHARD_SEATS
                self._refuse(chosen, payer[at] != ALONE, _CHAINED)
                self._refuse(chosen, columns.ended_on[at] <= chosen.joined_on, _LEFT)

    async def _found_late(self, connection: AsyncConnection, named: _Named, import_id: int) -> _Named:
        late = named.payers == ALONE
        named.payers[late] = await last_seats(connection, self.plan_id, named.refs.filter(pa.array(late)))
        self._refuse(named, named.payers == ALONE, _UNKNOWN)
        late &= named.payers != ALONE
        rows = [
            (self.plan_id * PLAN_STRIDE + seat // SHARD_SEATS + 1, seat, Kind.PAYER.value, joined_on, payer, import_id)
            for seat, joined_on, payer in zip(
                *(column[late].tolist() for column in (named.seats, named.joined_on, named.payers)), strict=True
            )
        ]
        if rows:
            names = ["shard_id", "seat", "kind", "from_day", "payer", "import_id"]
            await copy_in(connection, roster_changes, names, rows)
        return named.where(named.payers != ALONE)

    def _refuse(self, named: _Named, wrong: NDArray[np.bool_], why: str) -> None:
        for row in np.flatnonzero(wrong)[:PROBLEMS_MAX].tolist():
            self.problems.add(int(named.lines[row]), "payer_ref", named.refs[row].as_py(), why)
