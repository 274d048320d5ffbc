"""What members are owed back is paid out: exactly what was approved, to whom it is owed, and once."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Selection
from engine.custodian.breaks import Code
from engine.custodian.debit_files.manifest import all_in
from engine.custodian.instructions import State
from engine.custodian.profile import load
from engine.custodian.reference import Kind, Reference
from engine.custodian.registered import custodian_of
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.tokens import Tokens, write_tokens
from engine.decisions import Decision, DecisionState, FourEyes
from engine.errors import InvalidInput
from engine.ledger.accounts import Account, account_id
from engine.ledger.journals import Journal, Segment, post
from engine.reconcile.collecting import collect_day
from engine.reconcile.refunds import propose_refunds
from engine.runs.corrections import Against, propose_correction
from tests.integration import money_out
from tests.integration.broken import resolve
from tests.integration.money_out import approve, held, later, profile
from tests.integration.prepaid import known
from tests.integration.worlds import DEBIT, JULY, PLANNER, World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

ON = DEBIT + timedelta(days=1)


async def owing(engine: AsyncEngine, *owed: dict[int, int]) -> World:
    """A plan that owes seats back, a shard of ten seats for each: minor units by position."""
    world = await held(await build(engine, rules_of_preset(), *(alike(10) for _ in owed)))
    for number, by in enumerate(owed, 1):
        await owe(world, number, by, "given")
    return world


async def owe(world: World, number: int, by: dict[int, int], key: str) -> None:
    segment = Segment(
        account_id(world.plan_id, Account.REFUNDS_PAYABLE),
        np.array([-amount for amount in by.values()], np.int64),
        np.array(list(by), np.int32),
    )
    if not by:
        return
    cash = account_id(world.plan_id, Account.CUSTODIAN_CASH)
    lines = {cash: -segment.total, segment.account_id: segment.total}
    async with world.engine.begin() as connection:
        await post(connection, Journal(world.shard(number), key, "settlement", JULY, lines, (segment,)))


async def proposed(world: World, on: date = ON) -> Decision:
    async with world.engine.begin() as connection:
        return await propose_refunds(connection, world.plan_id, on=on, actor=PLANNER)


async def states(world: World, decision: Decision, number: int) -> dict[int, State]:
    """By position, of who is paid on a shard."""
    async with world.engine.connect() as connection:
        files = await sent_batches(connection, decision.decision_id, Kind.REFUND)
        found = await read_standing(connection, world.shard(number), decision.decision_id, Kind.REFUND, batches=files)
    return {int(at): State(found.state[at]) for at in np.flatnonzero(found.state)}


async def test_every_seat_is_paid_what_it_is_owed(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00, 4: 1}, {}, {0: 70})
    decision = await proposed(world)
    assert (decision.detail["seats"], decision.detail["amount_minor"]) == (3, 5_71)
    with pytest.raises(FourEyes):
        await approve(world, decision, tmp_path, actor=PLANNER)
    done = await approve(world, decision, tmp_path)
    assert done.outcome == {"seats": 3, "amount_minor": 5_71, "pay_on": ON.isoformat(), "files": 1}
    assert await world.accounts() == {Account.CUSTODIAN_CASH: 5_71, Account.PAYOUTS_IN_TRANSIT: -5_71}
    (file,) = all_in(tmp_path / "generic-csv" / "debits")
    number = decision.decision_id
    assert file.reference == str(Reference(Kind.BATCH, number, 1, 1_000_001))
    text = (tmp_path / "generic-csv" / "debits" / file.file).read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[:3] for line in text] == [
        [str(Reference(Kind.REFUND, number, 1, seat)), f"M{seat}", amount]
        for seat, amount in ((1, "5.00"), (4, "0.01"), (2 * 65_536, "0.70"))
    ]
    assert await states(world, decision, 1) == {1: State.ASSESSED, 4: State.ASSESSED}
    assert await states(world, decision, 3) == {0: State.ASSESSED}
    assert await world.problems() == []
    with pytest.raises(InvalidInput, match="xianghubao owes no member anything back"):
        await proposed(world)


async def test_files_are_cut_by_the_custodians_limits(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {at: at + 1 for at in range(10)}, dict.fromkeys(range(4), 5))
    small = profile().limits.model_copy(update={"max_items_per_file": 4})
    await held(world, profile(limits=small))
    decision = await proposed(world)
    await approve(world, decision, tmp_path)
    run, first = decision.decision_id, 1_000_001
    assert await money_out.instructed(world, "R") == [
        (run, 1, first, 4, 10), (run, 1, first + 1, 4, 26), (run, 1, first + 2, 4, 29), (run, 1, first + 3, 2, 10),
    ]  # fmt: skip
    assert set(await states(world, decision, 1)) == set(range(10))
    assert set(await states(world, decision, 2)) == set(range(4))


async def test_who_has_no_account_stays_owed(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00, 4: 1}, {0: 70})
    await held(world, load("generic-csv"))
    decision = await proposed(world)
    with pytest.raises(InvalidInput, match="on which accounts the members of plan:xianghubao are paid"):
        await approve(world, decision, tmp_path)
    accounts = pa.array([None, "622202000000001", *[None] * 8], pa.string())
    async with world.engine.begin() as connection:
        await write_tokens(connection, world.shard(1), Tokens(accounts), money_out.desk(tmp_path).account_key)
    done = await approve(world, decision, tmp_path)
    assert done.outcome == {
        "seats": 1, "amount_minor": 5_00, "without_account": 2, "left_minor": 71, "pay_on": ON.isoformat(), "files": 1,
    }  # fmt: skip
    assert (await world.accounts())[Account.REFUNDS_PAYABLE] == -71
    assert (await proposed(world)).detail["amount_minor"] == 71


async def test_what_changed_since_is_not_paid(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00, 4: 1})
    decision = await proposed(world)
    await owe(world, 1, {1: -1, 4: 1}, "moved")  # the sum stays what it was
    with pytest.raises(InvalidInput, match=r"changed since decision:1: it was 5\.01 to 2 seats and is 5\.01 to 2"):
        await approve(world, decision, tmp_path)
    assert await money_out.instructed(world, "R") == []
    assert list((tmp_path / "generic-csv" / "debits").iterdir()) == []


async def test_one_proposal_is_open_at_a_time(engine: AsyncEngine) -> None:
    world = await owing(engine, {1: 5_00})
    first = await proposed(world)
    with pytest.raises(
        InvalidInput, match=f"decision {first.decision_id} proposes a refund of plan:xianghubao already"
    ):
        await proposed(world)


async def test_a_refund_that_came_back_is_owed_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00, 4: 1})
    decision = await approve(world, await proposed(world), tmp_path)
    await money_out.out(world, 5_01, ON, "statement:1")
    await money_out.back(world, "statement:2", ON, Account.REFUNDS_PAYABLE, world.shard(1), {4: 1})
    again = await proposed(world)
    assert (again.detail["seats"], again.detail["amount_minor"]) == (1, 1)
    await approve(world, again, tmp_path)
    assert again.decision_id != decision.decision_id
    assert await states(world, again, 1) == {4: State.ASSESSED}
    assert await world.problems() == []


async def test_a_refund_on_no_statement_is_missing_and_paid_again_by_decision(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await owing(engine, {1: 5_00}, {0: 70})
    decision = await approve(world, await proposed(world), tmp_path)
    await money_out.sent(world)
    async with engine.connect() as connection:
        custodian = await custodian_of(connection, "generic-csv")
    found = []
    for days in (1, 9, 9):
        desk, on = money_out.desk(tmp_path), ON + timedelta(days=days)
        day = await collect_day(engine, custodian, desk, on=on, now=later(days + 2), actor=PLANNER)
        found.append(day.missing)
    assert found == [0, 2, 0]
    query = "SELECT code, kind, run_id, seat, amount_minor, suspense_minor FROM breaks ORDER BY seat"
    number = decision.decision_id
    assert await world.rows(query) == [
        ("MISSING_AT_BANK", "R", number, 1, -5_00, 0), ("MISSING_AT_BANK", "R", number, 65_536, -70, 0),
    ]  # fmt: skip
    async with engine.begin() as connection:
        await resolve(connection, Selection(code=Code.MISSING_AT_BANK), Action.ASK_AGAIN)
    assert (await world.accounts())[Account.REFUNDS_PAYABLE] == -5_70
    assert (await proposed(world)).detail["amount_minor"] == 5_70


@pytest.mark.parametrize("first", ["paid", "corrected"])
async def test_what_a_correction_left_overpaid_is_paid_back(engine: AsyncEngine, tmp_path: Path, first: str) -> None:
    """Whether the debit was booked before the correction or was on its way: the member gets the difference."""
    rules = rules_of_preset(caps={"per_case": None, "per_year": None})
    world = await known(await held(await build(engine, rules, alike(100))))
    await world.claim(100_00)
    run = await world.sealed()
    (charged,) = await world.charged(run)
    share = int(charged[7])
    file = tmp_path / "correction.csv"
    file.write_text("member_ref,amount\nM7,-0.30\n", "utf-8")

    async def correct() -> Decision:
        async with world.engine.begin() as connection:
            decision = await propose_correction(
                connection, run.run_id, file, reason="a test", against=Against.SPONSOR, on=ON, actor=PLANNER
            )
        return await approve(world, decision, tmp_path)

    async def book() -> None:
        """The custodian books what the run charged."""
        receivable = account_id(world.plan_id, Account.CONTRIBUTIONS_RECEIVABLE)
        cash = account_id(world.plan_id, Account.CUSTODIAN_CASH)
        detail = Segment(receivable, np.array([-share], np.int64), np.array([7], np.int32))
        journal = Journal(
            world.shard(1),
            f"{run.name}:statement:1:{ON}",
            "settlement",
            ON,
            {cash: share, receivable: -share},
            (detail,),
        )
        async with world.engine.begin() as connection:
            await post(connection, journal)

    steps = [book, correct] if first == "paid" else [correct, book]
    decisions = [await step() for step in steps]
    corrected = next(each for each in decisions if each is not None)
    assert corrected.state is DecisionState.DONE
    assert corrected.outcome is not None
    assert corrected.outcome.get("owed_back_minor") == (30 if first == "paid" else None)
    decision = await proposed(world)
    assert (decision.detail["seats"], decision.detail["amount_minor"]) == (1, 30)
    assert (await world.owed(1))[7] == 0
    await approve(world, decision, tmp_path)
    assert (await world.accounts())[Account.PAYOUTS_IN_TRANSIT] == -30
    # The year's cap has the correction, and not what was given back as well.
    used = "SELECT sum(amount) FROM ledger_entries WHERE kind IN ('charge', 'correction') AND seat = 7"
    assert await world.value(used) == share - 30
    assert await world.problems() == []


async def test_a_day_that_cannot_be_reached_moves(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00})
    done = await approve(world, await proposed(world), tmp_path, now=later(10))
    assert done.outcome is not None
    assert done.outcome["pay_on"] == "2019-07-23"


async def test_no_statement_of_a_member_is_lost(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await owing(engine, {1: 5_00})
    await approve(world, await proposed(world), tmp_path)
    entries = await world.rows("SELECT kind, amount FROM ledger_entries WHERE seat = 1 ORDER BY seq")
    assert [(kind, int(amount)) for kind, amount in entries] == [("settlement", -5_00), ("settlement", 5_00)]
