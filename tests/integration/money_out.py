"""Worlds whose plan has a custodian: it knows members by their references, and what it does is told by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr
from sqlalchemy import text

from engine.custodian.desk import Desk
from engine.custodian.events import Event, append
from engine.custodian.instructions import State
from engine.custodian.profile import Profile, load
from engine.custodian.reference import Kind
from engine.custodian.registered import assign, register
from engine.decisions import Decision
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.members.collection import collect
from engine.reconcile.decided import carry_out
from tests.integration.worlds import APPROVER, World

NOW = datetime(2019, 7, 13, 8, tzinfo=UTC)
ENVIRONMENT = {
    "CUSTODIAN_GENERIC_ACCOUNT": "6222000000000001",
    "CUSTODIAN_MOCK_BANK_IBAN": "NL41MOCK0000000001",
    "CUSTODIAN_MOCK_BANK_CREDITOR_ID": "NL41ZZZ000000000001",
}


def desk(folder: Path) -> Desk:
    return Desk(folder, SecretStr("a key of the tests"), ENVIRONMENT)


def profile(name: str = "generic-csv", **values: Any) -> Profile:
    """A preset that knows members by their references, with some of its values put in."""
    return load(name).model_copy(update={"payer_known_by": "member_ref"} | values)


async def held(world: World, by: Profile | None = None) -> World:
    """The world, its money with a custodian."""
    found = by or profile()
    async with world.engine.begin() as connection:
        await register(connection, found, actor="treasurer")
        await assign(connection, found.code, world.plan_id, actor="treasurer")
    return world


async def approve(
    world: World, decision: Decision, folder: Path, *, now: datetime = NOW, actor: str = APPROVER
) -> Decision:
    async with world.engine.begin() as connection:
        return await carry_out(connection, decision.decision_id, actor=actor, desk=desk(folder), now=now)


async def sent(world: World) -> None:
    """Every file that waits leaves now."""
    await world.sql("UPDATE debit_batches SET sent_at = now(), sent_on = '2019-07-14' WHERE sent_at IS NULL")


async def told(
    world: World, kind: Kind, run_id: int, shard_id: int, state: State, positions: Sequence[int], source: str
) -> None:
    """What a custodian says of instructions, as their history has it."""
    made = text("SELECT max(attempt) FROM attempts WHERE run_id = :run AND kind = chr(:kind)")
    async with world.engine.begin() as connection:
        attempt: int = (await connection.execute(made, {"run": run_id, "kind": int(kind)})).scalar_one()
        event = Event(attempt, state, source, positions=np.array(positions, np.int32))
        await append(connection, run_id, kind, [(shard_id, event)])


async def paid(world: World, run_id: int, number: int, positions: Sequence[int], on: date, source: str) -> None:
    """Debits of one shard are booked: on the custodian's cash, and in their history."""
    async with world.engine.begin() as connection:
        await collect(connection, run_id, world.shard(number), np.array(positions, np.int32), on=on)
    await told(world, Kind.DEBIT, run_id, world.shard(number), State.BOOKED, positions, source)


async def out(world: World, amount_minor: int, on: date, key: str) -> None:
    """What was on its way out has left the custodian's account."""
    await _post(world, world.shard(0), key, on, {Account.PAYOUTS_IN_TRANSIT: amount_minor}, Account.CUSTODIAN_CASH)


async def back(world: World, key: str, on: date, detail: Account, shard_id: int, by: dict[int, int]) -> None:
    """What had left came back: `by` position (of payouts claims' numbers), in minor units."""
    total = sum(by.values())
    segment = Segment(
        account_id(world.plan_id, detail),
        np.array([-amount for amount in by.values()], np.int64),
        np.array(list(by), np.int32),
    )
    cash = account_id(world.plan_id, Account.CUSTODIAN_CASH)
    lines = {cash: total, segment.account_id: -total}
    async with world.engine.begin() as connection:
        await post(connection, Journal(shard_id, key, "settlement", on, lines, (segment,)))


async def _post(world: World, shard_id: int, key: str, on: date, amounts: dict[Account, int], against: Account) -> None:
    lines = {account_id(world.plan_id, code): amount for code, amount in amounts.items()}
    lines[account_id(world.plan_id, against)] = -sum(amounts.values())
    async with world.engine.begin() as connection:
        await post(connection, Journal(shard_id, key, "settlement", on, lines))


async def instructed(world: World, kind: str) -> list[tuple[Any, ...]]:
    """(run, attempt, number, count, amount_minor) of every file of a kind."""
    async with world.engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT run_id, attempt, number, count, amount_minor FROM debit_batches WHERE kind = :kind"
                " ORDER BY batch_id"
            ),
            {"kind": kind},
        )
        return [tuple(row) for row in rows]


def later(days: int) -> datetime:
    return NOW + timedelta(days=days)
