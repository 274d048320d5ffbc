"""Small worlds for the tests of runs: a plan, its seats written straight as columns, passed claims, and a life."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import claims
from engine.ledger.accounts import Account, account_id, open_accounts
from engine.ledger.balances import read_balance
from engine.ledger.journals import posted_under
from engine.ledger.trial_balance import trial_balance
from engine.ledger.verify import verify
from engine.plans import NEVER, PlanRules, day_number, from_json
from engine.resources import config_dir
from engine.roster.columns import Columns, Version, latest_version, read_columns, to_bytes, write_columns
from engine.roster.plan import Plan, register_plan
from engine.roster.tags import tags_of
from engine.runs.conductor import WorkRules, advance, work
from engine.runs.planning import plan_run
from engine.runs.preview import approve
from engine.runs.report import totals_of
from engine.runs.run import Run, load_run
from engine.runs.slots import SlotState, skip, slots_due
from engine.runs.states import RunState
from engine.runs.voiding import void
from engine.store.arrays import copy_in
from engine.store.tables import SHARD_SEATS, member_columns, run_shards, shards, year_usage

JULY = date(2019, 7, 7)
"""A notice day of both presets; a week later they debit."""

DEBIT = date(2019, 7, 14)
LATE_JULY, LATE_DEBIT = date(2019, 7, 21), date(2019, 7, 28)
AUGUST, AUGUST_DEBIT = date(2019, 8, 7), date(2019, 8, 14)
JOINED = day_number(date(2019, 1, 1))
PLANNER, APPROVER = "anna", "bo"

ONE = WorkRules(worker="one", lease_seconds=30, slice_seconds=20, max_attempts=3, freeze_hours=24, shards_in_hand=1)


def rules_of_preset(code: str = "xianghubao", **tables: Any) -> PlanRules:
    """A preset with keys of its tables put in or changed, in the words of a plan file; None takes a key away.

    Unless `exits` is given nobody leaves for having received aid: who claims in these worlds shares what comes after.
    """
    tables = {"exits": {"after_aid": None}} | tables
    preset = tomllib.loads((config_dir() / "plans" / f"{code}.toml").read_text("utf-8"))
    for name, given in tables.items():
        whole = preset.get(name, {}) | given if isinstance(given, dict) else given
        preset[name] = {k: v for k, v in whole.items() if v is not None} if isinstance(given, dict) else whole
    return from_json(json.dumps({k: v for k, v in preset.items() if v is not None}, default=str), code)


def alike(seats: int) -> Columns:
    """Seats that have shared since the first day of 2019 and never end."""
    days = np.full(seats, JOINED, dtype=np.int32)
    return Columns(days, days, np.full(seats, NEVER, dtype=np.int32), np.zeros(seats, dtype=np.int16))


def motley(seats: int, seed: int, tiers: int = 1) -> Columns:
    """Joiners and leavers before, between and after the gates of July, frozen ones, and all tiers."""
    random = np.random.default_rng(seed)
    low, high = day_number(JULY) - 3, day_number(LATE_JULY) + 3

    def days(share: float, usual: int) -> NDArray[np.int32]:
        drawn = random.integers(low, high, size=seats)
        return np.where(random.random(seats) < share, drawn, usual).astype(np.int32)

    shares_from, ended_on, frozen_from = days(0.2, JOINED), days(0.2, NEVER), days(0.1, 0)
    frozen_to = np.where(frozen_from > 0, frozen_from + random.integers(1, 20, size=seats), 0).astype(np.int32)
    tier = random.integers(tiers, size=seats, dtype=np.int16)
    return Columns(shares_from, shares_from, ended_on, tier, frozen_from, frozen_to)


@dataclass(frozen=True)
class Claimant:
    """Who claims in these worlds: a seat that is covered and old enough."""

    shard_id: int
    seat: int = 0
    born_on: date = date(1990, 5, 5)
    shares_from: int = JOINED
    claims_from: int = JOINED
    ended_on: int = NEVER
    frozen_from: int = 0
    frozen_to: int = 0
    tier: int = 0


@dataclass(frozen=True)
class World:
    """A plan in a database, as the tests of runs handle it. Amounts are minor units."""

    engine: AsyncEngine
    plan: Plan
    rules: PlanRules

    @property
    def plan_id(self) -> int:
        return self.plan.plan_id

    def shard(self, number: int) -> int:
        return self.plan_id * 1_000_000 + number

    async def claim(self, aid_minor: int = 300_000_00, notice_on: date = JULY) -> int:
        """A claim of its own seat that has passed its notice; its id."""
        on = notice_on - timedelta(days=1)
        async with self.engine.begin() as connection:
            count = await connection.scalar(
                text("SELECT count(*) FROM claims WHERE plan_id = :plan"), {"plan": self.plan_id}
            )
            claimant = Claimant(self.shard(1), seat=int(count or 0))
            claim = await claims.file(
                connection, self.plan_id, self.rules, claimant,
                diagnosed_on=on, on=on, actor="intake", aid_minor=aid_minor,
            )  # fmt: skip
            await claims.publish(connection, claim.claim_id, self.rules, on=notice_on, actor="intake")
            ends_on = notice_on + timedelta(days=self.rules.notice.length_days)
            await claims.pass_due(connection, self.plan_id, on=ends_on, actor="clock")
        return claim.claim_id

    async def planned(self, debit_on: date = DEBIT) -> Run:
        """A run of what waits; slots missed before it are skipped."""
        async with self.engine.begin() as connection:
            for slot in await slots_due(connection, self.plan, self.rules, on=debit_on):
                if slot.state is SlotState.MISSED:
                    await skip(
                        connection, self.plan, self.rules, slot.debit_on, reason="a test", actor=PLANNER, on=debit_on
                    )
            return await plan_run(connection, self.plan, debit_on, actor=PLANNER)

    async def worked(self, run: Run, rules: WorkRules = ONE) -> Run:
        """The run after a worker did whatever was due."""
        await work(self.engine, run.run_id, rules, lambda _: None)
        return await self.run(run.run_id)

    async def run(self, run_id: int) -> Run:
        async with self.engine.connect() as connection:
            return await load_run(connection, run_id)

    async def previewed(self, debit_on: date = DEBIT) -> Run:
        run = await self.worked(await self.planned(debit_on))
        assert run.state is RunState.PREVIEWED, run.failure
        return run

    async def approved(self, run: Run) -> Run:
        async with self.engine.begin() as connection:
            return await approve(connection, run.run_id, actor=APPROVER)

    async def sealed(self, debit_on: date = DEBIT) -> Run:
        """A whole run, by one worker."""
        run = await self.worked(await self.approved(await self.previewed(debit_on)))
        assert run.state is RunState.SEALED, run.failure
        return run

    async def posting(self, *posted: int, debit_on: date = DEBIT) -> Run:
        """An approved run in the middle of posting: only the shards of these numbers are posted."""
        run = await self.approved(await self.previewed(debit_on))
        await advance(self.engine, run.run_id, freeze_hours=ONE.freeze_hours)
        others = {number for number, _ in enumerate(await self.shards(), 1)} - set(posted)
        await self.set_shards(run, "failed", others)
        run = await self.worked(run) if others else await self.run(run.run_id)
        await self.set_shards(run, "pending", others)
        return run

    async def set_shards(self, run: Run, state: str, numbers: Collection[int]) -> None:
        """Put the shards of these numbers of a run into a state."""
        chosen = run_shards.c.shard_id.in_([self.shard(number) for number in numbers])
        async with self.engine.begin() as connection:
            await connection.execute(
                update(run_shards).where(run_shards.c.run_id == run.run_id, chosen).values(state=state)
            )

    async def shard_states(self, run: Run) -> list[str]:
        """The run's shards in order."""
        found = select(run_shards.c.state).where(run_shards.c.run_id == run.run_id).order_by(run_shards.c.shard_id)
        async with self.engine.connect() as connection:
            return list(await connection.scalars(found))

    async def voided(self, run: Run, actor: str = APPROVER) -> RunState:
        async with self.engine.begin() as connection:
            return await void(connection, run.run_id, actor=actor, reason="a test")

    async def charged(self, run: Run, account: Account = Account.CONTRIBUTIONS_RECEIVABLE) -> list[NDArray[np.int64]]:
        """What the run posted on each shard, one amount per seat."""
        amounts = []
        async with self.engine.connect() as connection:
            for shard_id, seats in await self.shards():
                journal = await posted_under(connection, shard_id, f"run:{run.run_id}:charge")
                found = [
                    s
                    for s in (journal.segments if journal else ())
                    if s.account_id == account_id(self.plan_id, account)
                ]
                amounts.append(found[0].dense(seats) if found else np.zeros(seats, dtype=np.int64))
        return amounts

    async def shards(self) -> list[tuple[int, int]]:
        """(shard_id, seats), the plan's own shard 0 left out."""
        async with self.engine.connect() as connection:
            chosen = select(shards.c.shard_id, shards.c.seats).where(
                shards.c.plan_id == self.plan_id, shards.c.number > 0
            )
            return [(row.shard_id, row.seats) for row in await connection.execute(chosen.order_by(shards.c.shard_id))]

    async def owed(self, number: int) -> NDArray[np.int64]:
        """The members' balances on one shard."""
        shard_id, seats = (await self.shards())[number - 1]
        receivable = account_id(self.plan_id, Account.CONTRIBUTIONS_RECEIVABLE)
        async with self.engine.connect() as connection:
            found = await read_balance(connection, shard_id, receivable, through_seq=2**40, seats=seats)
        return found.amounts

    async def tied_out(self, run: Run) -> dict[str, int]:
        """The run's line of the view `run_tie_out`; asserts I5, and that the run's totals say the same."""
        async with self.engine.connect() as connection:
            query = text("SELECT * FROM run_tie_out WHERE run_id = :run")
            row = (await connection.execute(query, {"run": run.run_id})).mappings().one()
            totals = await totals_of(connection, run)
        assert totals is not None
        names = ("charged", "sponsor", "carry_in", "aid", "fee", "carry_out")
        line = {name: int(row[name]) for name in names}
        assert line == {name: getattr(totals, name) for name in names}
        assert row["money_in"] == row["money_out"] == totals.money_in == totals.money_out
        return line

    async def accounts(self) -> dict[Account, int]:
        """The trial balance: debit less credit of every account that does not stand at zero."""
        async with self.engine.connect() as connection:
            lines = await trial_balance(connection, self.plan_id)
        return {line.account: line.debit - line.credit for line in lines if line.debit != line.credit}

    async def sql(self, statement: str, **values: object) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def value(self, query: str, **values: object) -> Any:
        async with self.engine.connect() as connection:
            return await connection.scalar(text(query), values)

    async def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query), values)]

    async def problems(self) -> list[Any]:
        """What `ledger verify` finds wrong."""
        return (await verify(self.engine, self.plan_id)).problems

    async def used(self, number: int, amounts: Sequence[int], year: int = 2019) -> None:
        """Let the shard's year begin with these amounts used, as if runs before had charged them."""
        async with self.engine.begin() as connection:
            row = {"shard_id": self.shard(number), "year": year, "as_of_seq": 0, "amounts": list(amounts)}
            await connection.execute(insert(year_usage).values(row))

    async def exits(self, seat: int, from_day: int) -> None:
        """A change that no version holds yet: the seat of this plan-wide number leaves."""
        number = seat // SHARD_SEATS + 1
        await self.sql(
            "INSERT INTO roster_changes (shard_id, seat, kind, from_day, import_id)"
            " VALUES (:shard, :seat, 'exit', :day, 1)",
            shard=self.shard(number),
            seat=seat,
            day=from_day,
        )

    async def passed(self) -> list[int]:
        """Claims that wait for a run."""
        async with self.engine.connect() as connection:
            return [claim.claim_id for claim in await claims.passed_claims(connection, self.plan_id)]

    async def change(self, number: int, columns: Columns) -> None:
        """A newer version of a shard's roster."""
        async with self.engine.begin() as connection:
            newest = await latest_version(connection, self.shard(number))
            await write_columns(
                connection, self.shard(number), Version(newest.version + 1, newest.folded_through), columns
            )

    async def columns(self, number: int) -> Columns:
        """The newest version of a shard's roster."""
        async with self.engine.connect() as connection:
            newest = await latest_version(connection, self.shard(number))
            return await read_columns(connection, self.shard(number), newest.version)


async def build(engine: AsyncEngine, rules: PlanRules, *seats: Columns) -> World:
    """A plan with these seats, a shard for each. Shards need not be full: a seat's number follows its shard's."""
    async with engine.begin() as connection:
        plan = await register_plan(connection, rules)
        await open_accounts(connection, plan.plan_id)
        for number, columns in enumerate(seats, start=1):
            await _seat(connection, plan, number, columns)
    return World(engine, plan, rules)


async def _seat(connection: AsyncConnection, plan: Plan, number: int, columns: Columns) -> None:
    shard_id, first_seat = plan.plan_id * 1_000_000 + number, (number - 1) * SHARD_SEATS
    row = {"shard_id": shard_id, "plan_id": plan.plan_id, "number": number, "first_seat": first_seat}
    await connection.execute(insert(shards).values(**row, seats=len(columns)))
    refs = [f"M{first_seat + position}" for position in range(len(columns))]
    tags = tags_of((ref.encode() for ref in refs), b"tests")
    born_on = to_bytes(np.full(len(columns), day_number(date(1990, 5, 5)), dtype=np.int32))
    identity = (shard_id, born_on, "\n".join(refs), tags)
    await copy_in(connection, member_columns, ["shard_id", "born_on", "member_refs", "tags"], [identity])
    await write_columns(connection, shard_id, Version(1, 0), columns)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    """Wait for a condition, and fail saying what did not happen."""
    deadline = monotonic() + seconds
    while not await condition():
        assert monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)
