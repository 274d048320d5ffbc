"""Prove the ledger by itself, from its journals and segments alone: nothing that was computed before is believed.

Shard by shard, a few journals at a time, so that memory does not grow with members or runs. Every journal is rebuilt
and hashed again (I1, I2 and the digest chain), every checkpoint is summed again (I14), every sealed run's tree is
grown again from what was posted (I7), and what it carried in is what the carry account held when it was frozen (I5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import FentanError
from engine.ledger.accounts import CURRENCY, UNIT_STRIDE, Account, plan_shard, unit_of
from engine.ledger.balances import is_usage
from engine.ledger.journals import Segment
from engine.ledger.proof import charged_in, read_tags
from engine.ledger.seal import TAG_BYTES, leaf_hashes, sealed_root, tree_root
from engine.ledger.stored import StoredJournal, read_stored
from engine.money.sums import exact_sum
from engine.store.arrays import copy_out
from engine.store.tables import IN_THE_BOOKS, balances, plans, run_shards, shards, share_runs, year_usage

PAGE_JOURNALS = 16
"""Journals read at a time with their segments: at most some 50 MB of a full shard."""

MOST_CLAIMS = 2**22
"""Places on a plan's shard 0 are claim numbers; one beyond this is taken for a broken segment, not a claim."""

CHECKPOINTS = {table.name: table for table in (balances, year_usage)}


class Problem(NamedTuple):
    """Something that does not hold: the invariant it breaks, where, and what."""

    invariant: str
    place: str
    what: str


@dataclass
class Verification:
    """What was looked at, in counts, and every problem found."""

    checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def report(self, invariant: str, place: str, what: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(invariant, place, what))


@dataclass
class PlanSums:
    """What a plan's shards come to together: lines by account, clearing by run and unit, shard roots by run and kind.

    `carry`: what the carry account of each unit held after each journal of the plan's shard 0, and before the first.
    """

    accounts: Counter[int] = field(default_factory=Counter)
    clearing: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    roots: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)
    carry: dict[int, Counter[int]] = field(default_factory=lambda: {0: Counter()})


async def verify(
    engine: AsyncEngine, plan_id: int | None = None, *, on_shard: Callable[[int, int], None] | None = None
) -> Verification:
    """Verify one plan or all, in one snapshot. `on_shard(done, of)` hears of the progress."""
    found = Verification()
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            for plan in (await connection.execute(select(plans).order_by(plans.c.plan_id))).all():
                if plan_id in (None, plan.plan_id):
                    await _verify_plan(connection, plan, found, on_shard)
            await _verify_nothing_else(connection, plan_id, found)
    return found


async def _verify_plan(
    connection: AsyncConnection, plan: Row[Any], found: Verification, on_shard: Callable[[int, int], None] | None
) -> None:
    sums = PlanSums()
    mine = select(shards).where(shards.c.plan_id == plan.plan_id).order_by(shards.c.shard_id)
    rows = (await connection.execute(mine)).all()
    for done, row in enumerate(rows, 1):
        await _Shard(connection, row, found, sums).verify()
        if on_shard is not None:
            on_shard(done, len(rows))
    found.checked["plans"] += 1
    found.checked["accounts"] += len(sums.accounts)
    if difference := sum(sums.accounts.values()):
        found.report("I1", f"plan {plan.code}", f"its trial balance differs by {difference}")
    runs = select(share_runs).where(share_runs.c.plan_id == plan.plan_id).order_by(share_runs.c.run_id)
    ordered = (await connection.execute(runs)).all()
    _verify_carry(ordered, sums, found)
    _verify_seals(ordered, plan, sums, found)


class _Shard:
    """One shard, read from its first journal to its last."""

    def __init__(self, connection: AsyncConnection, shard: Row[Any], found: Verification, sums: PlanSums) -> None:
        self.connection, self.shard, self.found, self.plan = connection, shard, found, sums
        self.name = f"shard {shard.shard_id}"
        self.places = shard.seats if shard.number else MOST_CLAIMS
        self.carry: Counter[int] = Counter()
        self.checkpoints: dict[tuple[str, int], NDArray[np.int64]] = {}
        self.due: dict[int, list[tuple[str, int]]] = {}
        self.control: Counter[int] = Counter()
        self.rooted: dict[int, Row[Any]] = {}
        self.roots: dict[tuple[int, str], bytes] = {}
        self.tags = b""

    async def verify(self) -> None:
        await self._begin()
        head, last = b"", 0
        for first in range(1, self.shard.seq + 1, PAGE_JOURNALS):
            try:
                page = await read_stored(
                    self.connection, self.shard.shard_id, first, min(first + PAGE_JOURNALS - 1, self.shard.seq)
                )
            except FentanError as error:
                self.found.report("I2", f"{self.name} journals from {first} on", str(error))
                return
            for stored in page:
                for missing in range(last + 1, stored.seq):
                    self.found.report("I4", f"{self.name} journal {missing}", "is missing")
                self._journal(stored, head)
                await self._compare_checkpoints(stored.seq)
                head, last = stored.digest, stored.seq
        if last != self.shard.seq or head != self.shard.head:
            self.found.report("I4", self.name, f"its head is not the digest of journal {self.shard.seq}, its last")
        for as_of_seq, keys in self.due.items():
            self.found.report("I14", self.name, f"checkpoints {keys} are as of journal {as_of_seq}, which is not there")
        for account, left in self.control.items():
            if left:
                self.found.report("I14", self.name, f"account {account} differs from its subledger by {left}")
        self._compare_roots()

    async def _begin(self) -> None:
        """Find what else was said of this shard: checkpoints, and the Merkle roots that runs fixed here."""
        self.found.checked["shards"] += 1
        for table in CHECKPOINTS.values():
            shard_id, second, as_of_seq, _ = table.columns
            for key, seq in await self.connection.execute(
                select(second, as_of_seq).where(shard_id == self.shard.shard_id)
            ):
                self.checkpoints[table.name, key] = np.zeros(self.places, dtype=np.int64)
                self.due.setdefault(seq, []).append((table.name, key))
        await self._compare_checkpoints(0)
        rooted = select(run_shards).where(run_shards.c.shard_id == self.shard.shard_id, run_shards.c.root.is_not(None))
        self.rooted = {row.run_id: row for row in await self.connection.execute(rooted.order_by(run_shards.c.run_id))}
        if self.rooted:
            seats = max(row.seats for row in self.rooted.values())
            self.tags = await read_tags(self.connection, self.shard.shard_id, seats)

    def _journal(self, stored: StoredJournal, head: bytes) -> None:
        place = f"{self.name} journal {stored.seq}"
        self.found.checked["journals"] += 1
        self.found.checked["lines"] += len(stored.lines)
        self.found.checked["segments"] += len(stored.segments)
        self.found.checked["entries"] += sum(int(np.count_nonzero(part.segment.amounts)) for part in stored.segments)
        for account, amount in stored.lines:
            self.plan.accounts[account] += amount
            self.control[account] += amount if account % 10 == 0 else 0
            unit, code = unit_of(account), account % UNIT_STRIDE
            self.plan.clearing[stored.run_id, unit] += amount if code == Account.RUN_CLEARING else 0
            self.carry[unit] -= amount if code == Account.CARRY else 0
        if self.shard.number == 0:
            self.plan.carry[stored.seq] = self.carry.copy()
        try:
            journal = stored.rebuilt(self.places)
        except FentanError as error:
            self.found.report(error.invariant or "I14", place, str(error))
            return
        if journal.fingerprint != stored.fingerprint:
            self.found.report("I4", place, "its content does not hash to its fingerprint")
        if stored.prev_digest != head or journal.digest(stored.seq, head) != stored.digest:
            self.found.report("I4", place, "its digest does not follow from the journal before it")
        for segment in journal.segments:
            self.control[segment.account_id] -= exact_sum(segment.amounts)
            self._add_to_checkpoints(stored, segment)
        if stored.run_id in self.rooted and stored.kind in ("charge", "void"):
            self._root(stored, journal.segments)

    def _add_to_checkpoints(self, stored: StoredJournal, segment: Segment) -> None:
        keys = [(balances.name, segment.account_id)]
        if is_usage(stored.kind, segment.account_id):
            keys.append((year_usage.name, stored.effective_on.year))
        for key in keys:
            if key in self.checkpoints:
                self.checkpoints[key] += segment.dense(self.places)

    async def _compare_checkpoints(self, seq: int) -> None:
        """Compare those that stand as of `seq` with the sums so far."""
        for name, key in self.due.pop(seq, ()):
            self.found.checked["checkpoints"] += 1
            amounts = CHECKPOINTS[name].c.amounts
            second = CHECKPOINTS[name].primary_key.columns.values()[1].name
            [(stored,)] = await copy_out(
                self.connection,
                f"SELECT amounts FROM {name} WHERE shard_id = $1 AND {second} = $2",  # noqa: S608  # our own tables
                [self.shard.shard_id, key],
                [amounts.type],
            )
            summed = self.checkpoints.pop((name, key))
            wrong = np.flatnonzero(stored != summed[: stored.size]) if stored.size <= summed.size else summed[:1]
            if wrong.size or summed[stored.size :].any():
                where = f"position {wrong[0]}" if wrong.size else f"positions from {stored.size} on"
                self.found.report("I14", f"{name} {key} of {self.name}", f"is not the sum of its segments at {where}")

    def _root(self, stored: StoredJournal, segments: Iterable[Segment]) -> None:
        """Grow the tree over what the run charged, or gave back, on this shard."""
        assert stored.run_id is not None
        seats = self.rooted[stored.run_id].seats
        charged = charged_in(segments, self.places)
        if charged[seats:].any():
            self.found.report("I7", f"{self.name} journal {stored.seq}", f"charges more than the {seats} frozen seats")
        self.roots[stored.run_id, stored.kind] = self._tree(charged[:seats])

    def _tree(self, charged: NDArray[np.int64]) -> bytes:
        tags = self.tags[: TAG_BYTES * charged.size]
        return tree_root(leaf_hashes(charged, tags.ljust(TAG_BYTES * charged.size, b"\0")))

    def _compare_roots(self) -> None:
        """A run that posted nothing here charged every frozen seat 0."""
        for run_id, row in self.rooted.items():
            self.found.checked["shard roots"] += 1
            is_reversed = (row.phase, row.state) == ("reverse", "done")
            for kind in ("charge", "void") if is_reversed else ("charge",):
                root = self.roots.get((run_id, kind)) or self._tree(np.zeros(row.seats, dtype=np.int64))
                self.plan.roots.setdefault((run_id, kind), []).append(root)
            if row.root != root:  # of the last kind: what was posted last
                self.found.report("I7", f"run {run_id} {self.name}", "its Merkle root is not that of what was posted")


async def _verify_nothing_else(connection: AsyncConnection, plan_id: int | None, found: Verification) -> None:
    """Nothing stands outside the shards' sequences, where the walk above would not see it."""
    first, last = (0, 2**63 - 1) if plan_id is None else (plan_shard(plan_id), plan_shard(plan_id + 1) - 1)
    for table in ("journals", "posting_segments"):
        stray = text(
            f"SELECT stray.shard_id, stray.seq FROM {table} AS stray LEFT JOIN shards USING (shard_id)"  # noqa: S608
            " LEFT JOIN journals AS owner ON owner.shard_id = stray.shard_id AND owner.seq = stray.seq"
            " WHERE stray.shard_id BETWEEN :first AND :last"
            " AND (shards.seq IS NULL OR owner.seq IS NULL OR stray.seq NOT BETWEEN 1 AND shards.seq) LIMIT 20"
        )
        for shard_id, seq in await connection.execute(stray, {"first": first, "last": last}):
            found.report("I4", f"shard {shard_id} journal {seq}", f"a row of {table} is outside the shard's journals")


def _verify_carry(runs: Iterable[Row[Any]], sums: PlanSums, found: Verification) -> None:
    """Every run that was sealed carried in what the carry account held at the journal it was frozen at."""
    for run in runs:
        if run.root is None:
            continue
        found.checked["carries"] += 1
        then = sums.carry.get(run.ledger_seq)
        held = None if then is None else then[(run.surplus or {}).get("unit", CURRENCY)]
        if held is None:
            found.report("I5", f"run {run.run_id}", f"was frozen at journal {run.ledger_seq}, which is not there")
        elif run.carry_in != held:
            found.report("I5", f"run {run.run_id}", f"carried {run.carry_in} in where the carry account held {held}")


def _verify_seals(runs: Iterable[Row[Any]], plan: Row[Any], sums: PlanSums, found: Verification) -> None:
    """Each seal follows from its postings and the seal before it, and together they lead to the plan's last root."""
    seals: list[tuple[str, bytes, bytes, Iterable[bytes | None]]] = []
    roots = [root for run in runs for root in (run.root, run.void_root) if root is not None]
    for run in runs:
        for (run_id, _), left in sums.clearing.items():
            if left and run_id == run.run_id and run.state in (*IN_THE_BOOKS, "voided"):
                found.report("I5", f"run {run.run_id}", f"its clearing stands at {left}, not 0")
        sealed: list[tuple[str, bytes | None, Iterable[bytes | None]]] = [
            ("charge", run.root, [run.previous_root]),
            ("void", run.void_root, [None, *roots]),  # which seal a void followed is not stored
        ]
        for kind, root, before in sealed:
            if root is not None:
                tree = tree_root(sums.roots.get((run.run_id, kind), []))
                seals.append((f"run {run.run_id} {kind}", tree, root, before))
    follows: dict[bytes | None, bytes] = {}
    for place, tree, root, before in seals:
        found.checked["seals"] += 1
        previous = [other for other in before if sealed_root(other, tree) == root]
        if previous:
            follows[previous[0]] = root
        else:
            found.report("I7", place, "its seal does not follow from what was posted and the seal before it")
    end, steps = None, 0
    while end in follows and steps < len(seals):
        end, steps = follows[end], steps + 1
    if steps != len(seals) or end != plan.last_root:
        found.report("I7", f"plan {plan.code}", "its seals do not form one chain up to its last root")
