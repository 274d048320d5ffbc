"""Recovery of wrongly paid aid: two people, one journal, never more than was paid, and a lower share next time."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import claims
from engine.claims import ClaimRefused, Event, State
from engine.decisions import Decision, DecisionState, FourEyes, NotOpen
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.runs.decided import carry_out
from engine.runs.recovery import propose_recovery
from engine.runs.states import RunState
from tests.integration.worlds import (
    APPROVER,
    DEBIT,
    JULY,
    LATE_DEBIT,
    LATE_JULY,
    PLANNER,
    World,
    alike,
    build,
    rules_of_preset,
)

pytestmark = pytest.mark.integration

BACK = DEBIT + timedelta(days=3)
PAID = 100_00


async def paid_world(engine: AsyncEngine, **tables: Any) -> tuple[World, int]:
    """A hundred members who shared a claim of 100.00; the claim."""
    plan: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}, "exits": None} | tables
    world = await build(engine, rules_of_preset(**plan), alike(100))
    claim_id = await world.claim(PAID, JULY)
    await world.sealed(DEBIT)
    return world, claim_id


async def proposed(world: World, claim_id: int, amount_minor: int, on: date = BACK, actor: str = PLANNER) -> Decision:
    async with world.engine.begin() as connection:
        return await propose_recovery(connection, claim_id, amount_minor, "false papers", on=on, actor=actor)


async def approved(world: World, decision: Decision, actor: str = APPROVER) -> Decision:
    async with world.engine.begin() as connection:
        return await carry_out(connection, decision.decision_id, actor=actor)


async def recovered(world: World, claim_id: int) -> int:
    async with world.engine.connect() as connection:
        return (await claims.claim_of(connection, claim_id)).recovered_minor


@pytest.mark.parametrize(("to", "credited"), [("carry", Account.CARRY), ("sponsor", Account.SPONSOR_RECEIVABLE)])
async def test_what_comes_back_lowers_the_next_pool_or_is_the_sponsors(
    engine: AsyncEngine, to: str, credited: Account
) -> None:
    world, claim_id = await paid_world(engine, recovered_to=to)
    before = await world.accounts()
    decision = await proposed(world, claim_id, 50_00)
    assert (await world.accounts(), decision.subject) == (before, f"claim:{claim_id}")
    done = await approved(world, decision)
    assert done.state is DecisionState.DONE
    assert done.outcome == {"recovered_minor": 50_00, "recovered_in_all_minor": 50_00}
    assert await recovered(world, claim_id) == 50_00
    after = await world.accounts()
    assert {account: after.get(account, 0) - before.get(account, 0) for account in after | before} == dict.fromkeys(
        after | before, 0
    ) | {Account.CUSTODIAN_CASH: 50_00, credited: -50_00}
    async with engine.connect() as connection:
        (*_, last) = await claims.history(connection, claim_id)
    assert (last.event, last.actor, last.detail) == (
        Event.RECOVER,
        decision.name,
        {"decision": decision.decision_id, "amount": "50.00"},
    )

    await world.claim(PAID, LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    carried_in = 50_00 if to == "carry" else 0
    tied = await world.tied_out(run)
    assert (tied["carry_in"], tied["charged"]) == (carried_in, 108_00 - carried_in)
    assert await world.problems() == []


async def test_I13_who_proposes_does_not_approve_and_once_is_enough(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine)
    decision = await proposed(world, claim_id, PAID)
    for name in (PLANNER, PLANNER.upper()):
        with pytest.raises(FourEyes):
            await approved(world, decision, actor=name)
    assert await recovered(world, claim_id) == 0
    await approved(world, decision)
    with pytest.raises(NotOpen):
        await approved(world, decision)
    with pytest.raises(ClaimRefused, match=r"all of the 100\.00 that was paid came back already"):
        await proposed(world, claim_id, 1)
    assert await recovered(world, claim_id) == PAID
    assert await world.value("SELECT count(*) FROM journals WHERE kind = 'recovery'") == 1


@pytest.mark.parametrize(
    ("amount_minor", "on", "why"),
    [
        (0, BACK, r"0\.00: of claim 1 100\.00 was paid and 0\.00 came back; give more than 0 and at most 100\.00"),
        (-1, BACK, "give more than 0"),
        (PAID + 1, BACK, r"at most 100\.00"),
        (1, DEBIT - timedelta(days=1), "--on 2019-07-13: claim 1 was first paid on 2019-07-14; give a day from then"),
    ],
)
async def test_a_recovery_is_refused(engine: AsyncEngine, amount_minor: int, on: date, why: str) -> None:
    world, claim_id = await paid_world(engine)
    with pytest.raises(InvalidInput, match=why):
        await proposed(world, claim_id, amount_minor, on)
    assert await world.value("SELECT count(*) FROM decisions") == 0
    await proposed(world, claim_id, PAID, DEBIT)


async def test_two_proposals_together_never_exceed_what_was_paid(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine)
    one, other = await proposed(world, claim_id, 60_00), await proposed(world, claim_id, 60_00)
    await approved(world, one)
    with pytest.raises(InvalidInput, match=r"60\.00 came back; give more than 0 and at most 40\.00"):
        await approved(world, other)
    assert await world.value("SELECT state FROM decisions ORDER BY decision_id DESC LIMIT 1") == "proposed"
    await approved(world, await proposed(world, claim_id, 40_00))
    assert await recovered(world, claim_id) == PAID
    assert await world.problems() == []


async def test_aid_that_no_sealed_run_paid_cannot_come_back(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine)
    waits = await world.claim(PAID, LATE_JULY)
    with pytest.raises(ClaimRefused, match=f"claim {waits}: no sealed run paid any of its aid"):
        await proposed(world, waits, 1)
    decision = await proposed(world, claim_id, 1)
    run = await world.run(1)
    await world.voided(run)
    with pytest.raises(InvalidInput, match="run 1 holds the plan"):
        await approved(world, decision)
    assert (await world.worked(run)).state is RunState.VOIDED
    with pytest.raises(ClaimRefused, match="no sealed run paid any of its aid"):
        await approved(world, decision)


async def test_a_run_that_holds_the_plan_goes_first(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine)
    decision = await proposed(world, claim_id, 50_00)
    await world.claim(PAID, LATE_JULY)
    run = await world.previewed(LATE_DEBIT)
    with pytest.raises(InvalidInput, match=f"run {run.run_id} holds the plan"):
        await approved(world, decision)
    sealed = await world.worked(await world.approved(run))
    await approved(world, decision)
    assert (await world.tied_out(sealed))["carry_in"] == 0
    assert await world.problems() == []


async def test_a_run_whose_aid_came_back_stands(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine)
    await approved(world, await proposed(world, claim_id, 1))
    with pytest.raises(InvalidInput, match=rf"run:1 paid aid that came back since \(claims {claim_id}\)"):
        await world.voided(await world.run(1))
    assert (await world.run(1)).state is RunState.SEALED


async def test_of_a_cut_aid_comes_back_what_was_paid(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(
        engine, share={"over_cap": "reduce_aid"}, caps={"per_case": "0.10", "per_year": None}
    )
    paid = await world.value("SELECT aid_paid_minor FROM run_cases")
    assert 0 < paid < PAID
    with pytest.raises(InvalidInput, match="at most"):
        await proposed(world, claim_id, paid + 1)
    await approved(world, await proposed(world, claim_id, paid))
    assert await world.problems() == []


async def test_of_a_staged_claim_comes_back_what_its_runs_paid(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine, aid_stages={"first": "0.2"})
    with pytest.raises(InvalidInput, match=r"at most 20\.00"):
        await proposed(world, claim_id, 20_01)
    await approved(world, await proposed(world, claim_id, 20_00))
    async with engine.begin() as connection:
        billed = await claims.bill(connection, claim_id, world.rules, 30_00, on=LATE_JULY, actor="intake")
    assert billed.state is State.PASSED
    second = await world.sealed(LATE_DEBIT)
    decision = await proposed(world, claim_id, 30_00, LATE_DEBIT)
    await world.voided(second)  # what came back was paid by the first run
    await world.worked(second)
    with pytest.raises(ClaimRefused, match=r"all of the 20\.00 that was paid came back already"):
        await approved(world, decision)
    assert await world.problems() == []


async def test_closed_books_take_neither_bills_nor_recoveries(engine: AsyncEngine) -> None:
    world, claim_id = await paid_world(engine, aid_stages={"first": "0.2"})
    decision = await proposed(world, claim_id, 1)
    await world.sql("UPDATE plans SET ended_on = '2019-12-31'")
    closed = "plan xianghubao ended on 2019-12-31, and its books are closed"
    with pytest.raises(InvalidInput, match=closed):
        await proposed(world, claim_id, 1)
    with pytest.raises(InvalidInput, match=closed):
        await approved(world, decision)
    async with engine.begin() as connection:
        with pytest.raises(InvalidInput, match=closed):
            await claims.bill(connection, claim_id, world.rules, 1, on=LATE_JULY, actor="intake")
    assert await recovered(world, claim_id) == 0
