"""A run's end: settled once no debit is under way, closed once its aid is paid and nothing is left open."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.instructions import State
from engine.custodian.reference import Kind
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.members.collection import exit_unpaid
from engine.reconcile.closing import close_run, missing_to_close, settle_if_done
from engine.reconcile.instructing import instruct
from engine.reconcile.payouts import propose_payouts
from engine.roster.plan import lock_roster
from engine.runs.corrections import Against, propose_correction
from engine.runs.run import Run, load_run
from engine.runs.states import NotNow, RunState
from tests.integration import money_out
from tests.integration.money_out import NOW, approve, held, paid, sent, told
from tests.integration.prepaid import known, paying
from tests.integration.worlds import DEBIT, JULY, PLANNER, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

ON = DEBIT + timedelta(days=1)
EVERYBODY = range(100)


async def collecting(engine: AsyncEngine, folder: Path, **tables: Any) -> tuple[World, Run]:
    """Two shards that were asked for their shares of a claim of 100.00, and the files have left."""
    plan: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}} | tables
    world = await known(await held(await build(engine, rules_of_preset(**plan), alike(100), alike(10))))
    await world.claim(100_00, JULY)
    run = await world.sealed(DEBIT)
    async with engine.begin() as connection:
        await instruct(connection, run.run_id, money_out.desk(folder), on=DEBIT, now=NOW, actor=PLANNER)
    await sent(world)
    return world, run


async def settled(world: World, run: Run, *, to_ask_again: int = 0) -> RunState:
    async with world.engine.begin() as connection:
        return await settle_if_done(connection, run.run_id, on=ON, actor=PLANNER, to_ask_again=to_ask_again)


async def closed(world: World, run: Run, on: date = ON) -> RunState:
    async with world.engine.begin() as connection:
        return await close_run(connection, run.run_id, on=on, actor=PLANNER)


async def missing(world: World, run: Run) -> list[str]:
    async with world.engine.connect() as connection:
        return [each.text for each in await missing_to_close(connection, await load_run(connection, run.run_id))]


async def aid_paid(world: World, run: Run, folder: Path) -> None:
    """The aid is proposed, approved, sent and on a statement."""
    async with world.engine.begin() as connection:
        decision = await propose_payouts(connection, run.run_id, on=ON, actor=PLANNER)
    await approve(world, decision, folder)
    await sent(world)
    await money_out.out(world, 100_00, ON, f"{run.name}:statement:9:{ON}")
    await told(world, Kind.PAYOUT, run.run_id, world.shard(0), State.BOOKED, [1], "statement:9")


async def test_a_run_settles_once_every_debit_is_through_and_closes_once_its_aid_is_paid(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world, run = await collecting(engine, tmp_path)
    assert await settled(world, run) is RunState.COLLECTING
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    assert await settled(world, run) is RunState.COLLECTING, "the second shard is still out"
    await paid(world, run.run_id, 2, range(10), ON, "statement:1")
    with pytest.raises(NotNow, match="run:1 is collecting; a run is closed once it is settled"):
        await closed(world, run)
    assert await settled(world, run) is RunState.SETTLED
    assert await settled(world, run) is RunState.SETTLED
    with pytest.raises(InvalidInput, match=r"100\.00 of aid is not paid, of 1 claim; `fentan reconcile pay 1"):
        await closed(world, run)
    async with engine.begin() as connection:
        decision = await propose_payouts(connection, run.run_id, on=ON, actor=PLANNER)
    await approve(world, decision, tmp_path)
    assert await missing(world, run) == ["on no statement yet: the payouts to claims 1"]
    await sent(world)
    await money_out.out(world, 100_00, ON, f"{run.name}:statement:9:{ON}")
    await told(world, Kind.PAYOUT, run.run_id, world.shard(0), State.BOOKED, [1], "statement:9")
    assert await missing(world, run) == []
    assert await closed(world, run) is RunState.CLOSED
    assert await closed(world, run) is RunState.CLOSED
    assert {"collecting", "settled", "closed"} <= set((await world.run(run.run_id)).moments)
    acts = await world.rows("SELECT act, subject FROM audit_log WHERE act IN ('settle run', 'close run') ORDER BY 1")
    assert acts == [("close run", "run:1"), ("settle run", "run:1")]
    await world.tied_out(run)
    assert await world.problems() == []


async def test_what_came_back_keeps_a_run_open_while_it_is_asked_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await collecting(engine, tmp_path)
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    await told(world, Kind.DEBIT, run.run_id, world.shard(2), State.RETURNED, range(10), "statement:1")
    assert await settled(world, run, to_ask_again=10) is RunState.COLLECTING
    assert await settled(world, run, to_ask_again=0) is RunState.SETTLED
    assert "10 debits of 9.90 came back, and are not written off" in await missing(world, run)
    async with engine.begin() as connection:
        await lock_roster(connection, world.plan_id)
        await exit_unpaid(connection, run.run_id, world.shard(2), np.arange(10, dtype=np.int32))
    await told(world, Kind.DEBIT, run.run_id, world.shard(2), State.WRITTEN_OFF, range(10), "rule:unpaid")
    await aid_paid(world, run, tmp_path)
    assert await closed(world, run) is RunState.CLOSED
    assert (await world.accounts())[Account.BAD_DEBT] == 9_90


async def test_a_plan_without_unpaid_lets_who_did_not_pay_go_on_owing(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await collecting(engine, tmp_path, unpaid=None)
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    await told(world, Kind.DEBIT, run.run_id, world.shard(2), State.RETURNED, range(10), "statement:1")
    assert await settled(world, run) is RunState.SETTLED
    await aid_paid(world, run, tmp_path)
    assert await closed(world, run) is RunState.CLOSED
    assert (await world.accounts())[Account.CONTRIBUTIONS_RECEIVABLE] == 9_90


@pytest.mark.parametrize("state", [State.DISPUTED, State.SENT])
async def test_nobody_settles_over_what_may_still_become_anything(
    engine: AsyncEngine, tmp_path: Path, state: State
) -> None:
    world, run = await collecting(engine, tmp_path)
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    await paid(world, run.run_id, 2, range(9), ON, "statement:1")
    if state is State.DISPUTED:
        await told(world, Kind.DEBIT, run.run_id, world.shard(2), state, [9], "statement:1")
    assert await settled(world, run) is RunState.COLLECTING


async def test_a_break_keeps_a_run_open_until_it_is_resolved(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await collecting(engine, tmp_path)
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    await paid(world, run.run_id, 2, range(10), ON, "statement:1")
    await settled(world, run)
    await aid_paid(world, run, tmp_path)
    broken = (
        "INSERT INTO breaks (custodian_id, plan_id, code, run_id, kind, attempt, seat, amount_minor, suspense_minor,"
        " opened_on) SELECT custodian_id, plan_id, 'MISSING_AT_BANK', 1, :kind, 1, :seat, 91, 0, date '2019-07-15'"
        " FROM plans"
    )
    await world.sql(broken, kind="D", seat=3)
    await world.sql(broken, kind="D", seat=4)
    await world.sql(broken, kind="R", seat=4)  # of the refunds of decision 1: not of this run
    await world.sql(broken, kind="L", seat=4)  # nor is the levy that was the first call
    await world.sql(broken, kind="T", seat=4)  # nor a top-up, which names its plan
    with pytest.raises(InvalidInput, match="2 × MISSING_AT_BANK not resolved; `fentan reconcile breaks --run 1` shows"):
        await closed(world, run)
    await world.sql("UPDATE breaks SET state = 'resolved', closed_on = '2019-07-16' WHERE kind = 'D'")
    assert await closed(world, run) is RunState.CLOSED


async def test_what_does_not_tie_is_not_closed(engine: AsyncEngine, tmp_path: Path) -> None:
    """I12: the history says paid, the ledger does not."""
    world, run = await collecting(engine, tmp_path)
    await paid(world, run.run_id, 1, EVERYBODY, ON, "statement:1")
    await told(world, Kind.DEBIT, run.run_id, world.shard(2), State.BOOKED, range(10), "statement:1")
    assert await settled(world, run) is RunState.SETTLED
    await aid_paid(world, run, tmp_path)
    with pytest.raises(InvalidInput, match="10 seats owe another amount than their debits say"):
        await closed(world, run)


async def test_a_prepaid_run_settles_at_once_and_pays_its_aid(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await held(await paying(engine, [10_00] * 100))
    await world.claim(100_00, JULY)
    run = await world.sealed(DEBIT)
    async with engine.begin() as connection:
        await instruct(connection, run.run_id, money_out.desk(tmp_path), on=DEBIT, now=NOW, actor=PLANNER)
    await aid_paid(world, run, tmp_path)
    assert await closed(world, run) is RunState.CLOSED
    assert Account.AID_PAYABLE not in await world.accounts()


async def test_what_a_correction_under_way_left_overpaid_is_owed_back_at_settling(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world, run = await collecting(engine, tmp_path)
    file = tmp_path / "correction.csv"
    file.write_text("member_ref,amount\nM7,-0.30\n", "utf-8")
    charged = [part.copy() for part in await world.charged(run)]
    async with engine.begin() as connection:
        decision = await propose_correction(
            connection, run.run_id, file, reason="a test", against=Against.SPONSOR, on=ON, actor=PLANNER
        )
    await approve(world, decision, tmp_path)
    # The custodian books what was asked for before the correction.
    for number, amounts in enumerate(charged, 1):
        await money_out.back(
            world, f"{run.name}:statement:1:{ON}", ON, Account.CONTRIBUTIONS_RECEIVABLE, world.shard(number),
            {at: int(amount) for at, amount in enumerate(amounts)},
        )  # fmt: skip
        await told(world, Kind.DEBIT, run.run_id, world.shard(number), State.BOOKED, range(len(amounts)), "statement:1")
    assert await settled(world, run) is RunState.SETTLED
    assert (await world.accounts())[Account.REFUNDS_PAYABLE] == -30
    await aid_paid(world, run, tmp_path)
    assert await closed(world, run) is RunState.CLOSED


@pytest.mark.parametrize("state", ["collecting", "settled", "closed"])
async def test_a_run_that_was_collected_is_not_voided(engine: AsyncEngine, tmp_path: Path, state: str) -> None:
    world, run = await collecting(engine, tmp_path)
    await world.sql("UPDATE share_runs SET state = :state", state=state)
    with pytest.raises(NotNow, match=f"run:1 is {state}: its debits were asked of the custodian; correct what"):
        await world.voided(run)


async def test_a_run_whose_aid_is_on_its_way_is_not_voided(engine: AsyncEngine, tmp_path: Path) -> None:
    rules = rules_of_preset(caps={"per_case": None, "per_year": None}, payout={"when": "sealed"})
    world = await held(await build(engine, rules, alike(100)))
    await world.claim(100_00, JULY)
    run = await world.sealed(DEBIT)
    async with engine.begin() as connection:
        decision = await propose_payouts(connection, run.run_id, on=ON, actor=PLANNER)
    await approve(world, decision, tmp_path)
    with pytest.raises(InvalidInput, match="run:1 has a settlement already"):
        await world.voided(run)
