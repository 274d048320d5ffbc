"""Stage 5 on real PostgreSQL: a line that lost its reference, who it is suggested to be, and what two decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.breaks import Code
from engine.custodian.instructions import State
from engine.custodian.tokens import Tokens, WrongAccountKey, write_tokens
from engine.decisions import FourEyes
from engine.ledger.accounts import Account
from engine.money import to_major
from engine.reconcile.decided import carry_out
from engine.reconcile.effects import Target
from engine.reconcile.suggesting import Suggested, suggest
from engine.reconcile.taking import take
from tests.integration.bank_statement import BOOKED_ON, HEAD, TODAY, Line
from tests.integration.broken import propose
from tests.integration.held import ACTOR, KEY, desk_in, profile_of, standing
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import APPROVER, PLANNER, alike

pytestmark = pytest.mark.integration

ACCOUNTS = ["622200000001", "622200000002", "622200000003", "622200000003"]
"""The last two seats are debited on one account."""

SHARE = 10
"""0.10: the most a case may cost each."""


async def sent(engine: AsyncEngine, folder: Path) -> Asked:
    found = await asked(engine, folder, alike(4), profile=profile_of(payer_known_by="account"), is_asked=False)
    async with engine.begin() as connection:
        await write_tokens(connection, found.world.shard(1), Tokens(pa.array(ACCOUNTS)), KEY)
    await found.asks()
    return found


async def told(found: Asked, *lines: tuple[Line, str]) -> None:
    """A statement is taken whose lines end with the payer's account."""
    moved = [line.amount for line, _ in lines]
    totals = {"opening": 0, "entries": len(lines), "credits": sum(moved), "debits": 0, "closing": sum(moved)}
    stated = {name: str(each) if name == "entries" else to_major(each) for name, each in totals.items()}
    rows = [f"#opening,{stated.pop('opening')}", f"{HEAD},payer", *(f"{line.row()},{payer}" for line, payer in lines)]
    path = found.folder / "statement.csv"
    path.write_text("\n".join([*rows, *(f"#{name},{total}" for name, total in stated.items()), ""]), "utf-8")
    (taken,) = await take(found.world.engine, found.custodian, path, files=found.folder, actor=ACTOR, on=TODAY)
    assert taken.state == "taken", taken.problems


async def suggested(found: Asked, *ids: int) -> list[Suggested]:
    async with found.world.engine.connect() as connection:
        return await suggest(connection, found.custodian, desk_in(found.folder), ids=ids)


def said(each: Suggested) -> list[tuple[int, int, int]]:
    return [(one.run_id, one.seat, one.score) for one in each.candidates]


async def test_a_line_without_its_reference_is_suggested_and_settles_the_debit_once_two_agree(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    found = await sent(engine, tmp_path)
    others = [(Line(SHARE, found.reference(seat)), ACCOUNTS[seat]) for seat in (0, 2, 3)]
    cut_off = Line(SHARE, found.reference(1)[:9], "other")
    await told(found, *others, (cut_off, ACCOUNTS[1].lower()), (Line(SHARE, "", "other"), "NOBODY"))
    queue = "SELECT break_id, code, suspense_minor FROM breaks WHERE state = 'open' ORDER BY break_id"
    assert await found.world.rows(queue) == [
        (1, Code.MISSING_IN_LEDGER, SHARE),
        (2, Code.MISSING_IN_LEDGER, SHARE),
    ]
    first, second = await suggested(found)
    assert (first.break_id, first.booked_on, first.amount_minor) == (1, BOOKED_ON, SHARE)
    assert said(first) == [(found.run.run_id, 1, 100)]
    assert first.candidates[0].why == "its payer and 0.10, 1 business days after it was sent"
    assert (second.break_id, second.candidates) == (2, ())
    # Nothing was posted by asking.
    assert (await found.funnel()).in_flight.count == 1
    target = Target(found.world.plan_id, first.candidates[0].seat, first.candidates[0].run_id)
    async with engine.begin() as connection:
        decision = await propose(connection, [1], Action.MATCH, target=target, on=TODAY)
    with pytest.raises(FourEyes):
        async with engine.begin() as connection:
            await carry_out(connection, decision.decision_id, actor=PLANNER)
    assert await suggested(found, 1) == []
    async with engine.begin() as connection:
        await carry_out(connection, decision.decision_id, actor=APPROVER)
    assert await found.world.rows(queue) == [(2, Code.MISSING_IN_LEDGER, SHARE)]
    assert (await standing(found.world, found.run)).state.tolist() == [State.BOOKED] * 4
    funnel = await found.funnel()
    assert (funnel.settled.count, funnel.settled.amount_minor) == (4, 4 * SHARE)
    assert (funnel.in_flight.count, funnel.assessed.amount_minor) == (0, 4 * SHARE)
    accounts = await found.world.accounts()
    assert (accounts[Account.CUSTODIAN_CASH], accounts[Account.SUSPENSE]) == (5 * SHARE, -SHARE)
    proof = await found.proof()
    assert (proof.difference, proof.suspense) == (0, proof.breaks[Code.MISSING_IN_LEDGER].suspense_minor)


async def test_where_several_agree_it_is_a_choice(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await sent(engine, tmp_path)
    line = Line(SHARE, "", "other")
    await told(found, (line, ACCOUNTS[2]), (replace(line, amount=SHARE - 1), ACCOUNTS[0]))
    family, less = await suggested(found)
    assert said(family) == [(found.run.run_id, 2, 50), (found.run.run_id, 3, 50)]
    assert family.candidates[0].why.endswith("; one of 2")
    assert less.candidates == ()


async def test_who_has_no_account_any_more_hides_nobody_else(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await sent(engine, tmp_path)
    await told(found, (Line(SHARE, "", "other"), ACCOUNTS[0]), (Line(SHARE, "", "other"), ACCOUNTS[1]))
    async with engine.begin() as connection:
        await write_tokens(connection, found.world.shard(1), Tokens(pa.array([None, *ACCOUNTS[1:]])), KEY)
    assert [said(each) for each in await suggested(found)] == [[], [(found.run.run_id, 1, 100)]]


async def test_without_the_kept_file_nothing_is_known_and_under_another_key_nothing_is_told(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    found = await sent(engine, tmp_path)
    await told(found, (Line(SHARE, "", "other"), ACCOUNTS[0]))
    desk = replace(desk_in(tmp_path), account_key=type(KEY)("quite another account key"))
    with pytest.raises(WrongAccountKey):
        async with engine.connect() as connection:
            await suggest(connection, found.custodian, desk)
    # No account is stored with what is known of a line.
    stored = "SELECT line::text || breaks::text FROM statement_lines AS line JOIN breaks USING (statement_id, ordinal)"
    assert all(account not in row for (row,) in await found.world.rows(stored) for account in ACCOUNTS)
    for kept in (tmp_path / found.custodian.code / "statements").iterdir():
        kept.unlink()
    assert [each.candidates for each in await suggested(found)] == [()]
