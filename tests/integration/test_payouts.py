"""The aid is paid out: when the rule allows it, once, by two people, in a file that the custodian takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.debit_files.manifest import all_in
from engine.custodian.instructions import State
from engine.custodian.profile import load
from engine.custodian.reference import Kind, Reference
from engine.custodian.standing import read_standing, sent_batches
from engine.decisions import Decision, DecisionState, FourEyes
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.reconcile.decided import carry_out
from engine.reconcile.payouts import payable, propose_payouts
from engine.runs.recovery import propose_recovery
from engine.runs.run import Run
from engine.runs.states import NotNow
from tests.integration import money_out
from tests.integration.money_out import NOW, approve, held, profile
from tests.integration.worlds import APPROVER, DEBIT, JULY, PLANNER, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

ON = DEBIT + timedelta(days=1)
AID = 100_00


async def sealed_world(engine: AsyncEngine, when: str = "sealed", **tables: Any) -> tuple[World, Run]:
    """A hundred members who share two claims of 100.00, of the seats 0 and 1."""
    plan: dict[str, Any] = {"caps": {"per_case": None, "per_year": None}, "payout": {"when": when}} | tables
    world = await held(await build(engine, rules_of_preset(**plan), alike(100)))
    for _ in range(2):
        await world.claim(AID, JULY)
    return world, await world.sealed(DEBIT)


async def proposed(world: World, run: Run, actor: str = PLANNER) -> Decision:
    async with world.engine.begin() as connection:
        return await propose_payouts(connection, run.run_id, on=ON, actor=actor)


async def states(world: World, run: Run) -> list[State]:
    """Of the payouts to claims 1 and 2."""
    async with world.engine.connect() as connection:
        files = await sent_batches(connection, run.run_id, Kind.PAYOUT)
        found = await read_standing(connection, world.shard(0), run.run_id, Kind.PAYOUT, batches=files)
    return [State(state) for state in found.state[1:]]


async def test_the_aid_goes_out_in_a_file_once_another_approves(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    before = await world.accounts()
    decision = await proposed(world, run)
    assert (decision.subject, decision.detail["amount_minor"]) == (run.name, 2 * AID)
    assert await world.accounts() == before, "nothing is posted by proposing"
    with pytest.raises(FourEyes):
        await approve(world, decision, tmp_path, actor=PLANNER)
    done = await approve(world, decision, tmp_path)
    assert done.state is DecisionState.DONE
    assert done.outcome == {
        "claimants": 2, "amount_minor": 2 * AID, "set_off_minor": 0,
        "attempt": 1, "pay_on": ON.isoformat(), "files": 1,
    }  # fmt: skip
    after = await world.accounts()
    assert Account.AID_PAYABLE not in after
    assert after[Account.PAYOUTS_IN_TRANSIT] == -2 * AID
    (known,) = all_in(tmp_path / "generic-csv" / "debits")
    assert known.reference == str(Reference(Kind.BATCH, run.run_id, 1, 2_000_001))
    text = (tmp_path / "generic-csv" / "debits" / known.file).read_text("utf-8").splitlines()
    assert text[1:] == [
        f"{Reference(Kind.PAYOUT, run.run_id, 1, number)},M{number - 1},100.00,CNY,{ON}" for number in (1, 2)
    ]
    assert await money_out.instructed(world, "P") == [(run.run_id, 1, 2_000_001, 2, 2 * AID)]
    assert await states(world, run) == [State.ASSESSED, State.ASSESSED]
    await money_out.sent(world)
    assert await states(world, run) == [State.SENT, State.SENT]
    assert await world.problems() == []
    await world.tied_out(run)
    with pytest.raises(InvalidInput, match="all aid of run:1 is paid, or on its way to be"):
        await proposed(world, run)


async def test_the_plans_rule_says_from_when_on(engine: AsyncEngine) -> None:
    world, run = await sealed_world(engine, "settled")
    with pytest.raises(NotNow, match=r"is sealed; xianghubao pays aid once the run is settled \(payout.when\)"):
        await proposed(world, run)
    await world.sql("UPDATE share_runs SET state = 'settled'")
    assert (await proposed(world, run)).detail["claimants"] == 2


async def test_what_cannot_be_proposed(engine: AsyncEngine) -> None:
    world, run = await sealed_world(engine)
    async with world.engine.begin() as connection:
        with pytest.raises(InvalidInput, match="is debited on 2019-07-14; its aid is not paid before that"):
            await propose_payouts(connection, run.run_id, on=JULY, actor=PLANNER)
    decision = await proposed(world, run)
    with pytest.raises(InvalidInput, match=f"decision {decision.decision_id} proposes a payout of run:1 already"):
        await proposed(world, run)
    await world.sql("UPDATE plans SET custodian_id = NULL")
    with pytest.raises(InvalidInput, match="no custodian holds the money of xianghubao yet"):
        await proposed(world, run)


async def test_a_payout_that_came_back_is_proposed_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    await approve(world, await proposed(world, run), tmp_path)
    await money_out.sent(world)
    await money_out.out(world, 2 * AID, ON, f"{run.name}:statement:1:{ON}")
    shard = world.shard(0)
    await money_out.told(world, Kind.PAYOUT, run.run_id, shard, State.BOOKED, [1, 2], "statement:1")
    await money_out.back(world, f"{run.name}:statement:2:{ON}", ON, Account.AID_PAYABLE, shard, {2: AID})
    await money_out.told(world, Kind.PAYOUT, run.run_id, shard, State.RETURNED, [2], "statement:2")
    again = await proposed(world, run)
    assert again.detail["claims"] == [[2, AID, 0]]
    done = await approve(world, again, tmp_path)
    assert done.outcome is not None
    assert done.outcome["attempt"] == 2
    assert await money_out.instructed(world, "P") == [
        (run.run_id, 1, 2_000_001, 2, 2 * AID),
        (run.run_id, 2, 2_000_001, 1, AID),
    ]
    assert await states(world, run) == [State.BOOKED, State.ASSESSED]
    assert (await world.accounts())[Account.PAYOUTS_IN_TRANSIT] == -AID
    assert await world.problems() == []


async def test_aid_recovered_before_it_was_paid_never_left(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    async with world.engine.begin() as connection:
        back = await propose_recovery(connection, 1, 30_00, "false papers", on=ON, actor=PLANNER)
    await approve(world, back, tmp_path)
    assert (await world.accounts())[Account.CUSTODIAN_CASH] == 30_00
    decision = await proposed(world, run)
    assert decision.detail["claims"] == [[1, 70_00, 30_00], [2, AID, 0]]
    await approve(world, decision, tmp_path)
    after = await world.accounts()
    assert {Account.AID_PAYABLE, Account.CUSTODIAN_CASH} & set(after) == set()
    assert after[Account.PAYOUTS_IN_TRANSIT] == -170_00
    # What comes back of what was paid is no such thing.
    shard, key = world.shard(0), f"{run.name}:statement:2:{ON}"
    await money_out.back(world, key, ON, Account.AID_PAYABLE, shard, {1: 70_00})
    assert (await proposed(world, run)).detail["claims"] == [[1, 70_00, 0]]


async def test_aid_recovered_after_it_was_paid_lowers_no_payout(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    await approve(world, await proposed(world, run), tmp_path)
    async with world.engine.begin() as connection:
        back = await propose_recovery(connection, 1, 30_00, "false papers", on=ON, actor=PLANNER)
    await approve(world, back, tmp_path)
    async with world.engine.begin() as connection:
        assert await payable(connection, run) == []


async def test_what_changed_since_is_not_paid(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    decision = await proposed(world, run)
    async with world.engine.begin() as connection:
        back = await propose_recovery(connection, 1, 30_00, "false papers", on=ON, actor=PLANNER)
    await approve(world, back, tmp_path)
    with pytest.raises(InvalidInput, match=f"changed since decision:{decision.decision_id}: refuse it, propose again"):
        await approve(world, decision, tmp_path)
    assert await money_out.instructed(world, "P") == []


async def test_claimants_without_an_account_are_named(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    await held(world, load("generic-csv"))  # which knows members by their accounts
    decision = await proposed(world, run)
    before = await world.accounts()
    with pytest.raises(InvalidInput, match="on which accounts the claimants of claims 1, 2 are paid"):
        await approve(world, decision, tmp_path)
    assert await world.accounts() == before
    assert await world.value("SELECT count(*) FROM attempts") == 0


async def test_killed_before_the_commit_the_same_files_are_written_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    decision = await proposed(world, run)
    connection = await engine.connect()
    await connection.begin()
    desk = money_out.desk(tmp_path)
    await carry_out(connection, decision.decision_id, actor=APPROVER, desk=desk, now=NOW - timedelta(hours=1))
    assert len(all_in(tmp_path / "generic-csv" / "debits")) == 1
    await connection.rollback()
    await connection.close()
    await approve(world, decision, tmp_path)
    (known,) = all_in(tmp_path / "generic-csv" / "debits")
    assert known.created_at == NOW
    assert await world.value("SELECT encode(sha256, 'hex') FROM debit_batches") == known.sha256


async def test_the_day_is_one_that_the_custodian_can_reach(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    late = datetime(2019, 7, 20, 11, tzinfo=UTC)  # a Saturday, 19:00 in Shanghai: past the cut-off
    done = await approve(world, await proposed(world, run), tmp_path, now=late)
    assert done.outcome is not None
    assert done.outcome["pay_on"] == "2019-07-21"


async def test_in_a_locked_period_it_is_posted_on_the_first_open_day(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    decision = await proposed(world, run)
    await world.sql("UPDATE plans SET locked_through = '2019-07-31'")
    await approve(world, decision, tmp_path)
    day = await world.value("SELECT effective_on FROM journals WHERE idempotency_key = 'run:1:payout:1'")
    assert day.isoformat() == "2019-08-01"


async def test_nobody_is_paid_without_a_desk(engine: AsyncEngine) -> None:
    world, run = await sealed_world(engine)
    decision = await proposed(world, run)
    async with engine.begin() as connection:
        with pytest.raises(InvalidInput, match="needs a desk"):
            await carry_out(connection, decision.decision_id, actor=APPROVER)


async def test_a_secret_stands_nowhere(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed_world(engine)
    decision = await approve(world, await proposed(world, run), tmp_path)
    said = f"{decision} {money_out.desk(tmp_path)} {profile()} {SecretStr('a')}"
    assert "M0" not in str(decision.detail)
    assert "a key of the tests" not in said
