"""Corrections of a sealed run: a few seats, against sponsor or carry, within every cap, by two people, once."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.apportion import OverCharged
from engine.decisions import Decision, DecisionState, FourEyes, NotOpen, refuse
from engine.errors import InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.statement import read_statement
from engine.members.collection import Settled, collect
from engine.plans import day_number
from engine.runs.corrections import Against, propose_correction
from engine.runs.decided import carry_out
from engine.runs.run import Run
from engine.runs.states import NotNow, RunState
from engine.store.tables import SHARD_SEATS
from tests.integration.prepaid import held_by, known, paying
from tests.integration.worlds import (
    APPROVER,
    AUGUST,
    AUGUST_DEBIT,
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

ON = date(2019, 7, 16)
SECOND = SHARD_SEATS  # the first seat of the second shard
AID = 1_00  # 1.08 with its fee, over 20 seats: 0.06 each, and 0.12 of rounding for the carry


async def sealed(engine: AsyncEngine, **tables: Any) -> tuple[World, Run]:
    """A sealed run that charged each of 20 seats on two shards 0.06; every seat is a member by its number: M0, M1, …"""
    world = await build(engine, rules_of_preset(**({"exits": None} | tables)), alike(10), alike(10))
    await known(world)
    await world.claim(AID)
    return world, await world.sealed()


async def proposed(
    world: World,
    run: Run,
    lines: str,
    folder: Path,
    *,
    against: Against = Against.SPONSOR,
    on: date = ON,
    actor: str = PLANNER,
) -> Decision:
    path = folder / "wrong.csv"
    path.write_text("member_ref,amount\n" + lines.replace("; ", "\n") + "\n", "utf-8")
    async with world.engine.begin() as connection:
        return await propose_correction(
            connection, run.run_id, path, reason="wrong roster", against=against, on=on, actor=actor
        )


async def approved(world: World, decision: Decision, actor: str = APPROVER) -> Decision:
    async with world.engine.begin() as connection:
        return await carry_out(connection, decision.decision_id, actor=actor)


async def owed(world: World, *seats: int) -> list[int]:
    return [int((await world.owed(seat // SHARD_SEATS + 1))[seat % SHARD_SEATS]) for seat in seats]


@pytest.mark.parametrize(
    ("against", "lines", "net"),
    [
        (Against.SPONSOR, f"M1,-0.06; M{SECOND + 2},-0.01", -7),
        (Against.SPONSOR, f"M1,+0.03; M{SECOND + 2},0.01", 4),
        (Against.SPONSOR, f"M1,0.02; M2,-0.02; M{SECOND + 2},0.04", 4),
        (Against.CARRY, "M3,-0.06; M4,-0.06", -12),
        (Against.CARRY, f"M1,0.02; M2,-0.02; M{SECOND + 2},0.04; M{SECOND + 3},-0.04", 0),
        (Against.CARRY, f"M1,0.02; M{SECOND + 2},-0.05", -3),
    ],
)
async def test_what_is_corrected_is_posted_beside_the_run(
    engine: AsyncEngine, tmp_path: Path, against: Against, lines: str, net: int
) -> None:
    world, run = await sealed(engine)
    before, line = await world.accounts(), await world.tied_out(run)
    waiting = await proposed(world, run, lines, tmp_path, against=against)
    assert (waiting.state, await world.accounts()) == (DecisionState.PROPOSED, before)

    done = await approved(world, waiting)

    wanted = dict(before)
    for account, amount in ((Account.CONTRIBUTIONS_RECEIVABLE, net), (against.account, -net)):
        wanted[account] = wanted.get(account, 0) + amount
    assert await world.accounts() == {account: amount for account, amount in wanted.items() if amount}
    changes = {int(ref[1:]): round(float(amount) * 100) for ref, amount in (x.split(",") for x in lines.split("; "))}
    assert await owed(world, *changes) == [6 + amount for amount in changes.values()]
    assert await owed(world, 9, SECOND + 9) == [6, 6]
    given_back = -sum(amount for amount in changes.values() if amount < 0)
    assert done.outcome == {
        "members": len(changes), "charged_more_minor": net + given_back, "given_back_minor": given_back,
    }  # fmt: skip
    assert await world.tied_out(run) == line
    assert await world.problems() == []


async def test_a_member_reads_the_correction_in_the_statement(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M4,-0.02", tmp_path))
    async with engine.connect() as connection:
        statement = await read_statement(connection, world.shard(1), 4)
    assert [(e.kind, e.run_id, e.effective_on, e.amount) for e in statement.entries] == [
        ("charge", run.run_id, DEBIT, 6),
        ("correction", None, ON, -2),
    ]
    assert statement.owed == 4


async def test_the_next_run_stands_on_the_corrected_carry(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M4,-0.05; M5,-0.05", tmp_path, against=Against.CARRY))
    await world.claim(AID, AUGUST)
    later = await world.sealed(AUGUST_DEBIT)
    assert later.carry_in == 2
    assert (await world.tied_out(later))["charged"] == 20 * 6
    assert await world.problems() == []


async def test_two_corrections_of_a_seat_together_give_back_no_more_than_it_was_charged(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M4,-0.04", tmp_path))
    with pytest.raises(InvalidInput, match=r"wrong.csv, line 2, M4: 0.03 back of 0.02 charged"):
        await proposed(world, run, "M4,-0.03", tmp_path)
    await approved(world, await proposed(world, run, "M4,-0.02", tmp_path))
    assert await owed(world, 4) == [0]


async def test_what_was_allowed_when_proposed_may_not_be_when_approved(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    one, other = [await proposed(world, run, f"M4,-0.0{amount}", tmp_path) for amount in (4, 5)]
    await approved(world, one)
    with pytest.raises(InvalidInput, match=r"seat 4: 0.05 back of 0.02 charged"):
        await approved(world, other)
    assert await world.value("SELECT state FROM decisions WHERE decision_id = 2") == "proposed"


@pytest.mark.parametrize(
    ("caps", "most", "words"),
    [
        ({}, 4, "the cap per case over the gates it covers leaves 0.04"),
        ({"per_case": None, "per_run": "0.09"}, 3, "the cap per run leaves 0.03"),
        ({"per_case": None, "per_year": [{"amount": "0.08", "from_year": 2019}]}, 2, "the yearly cap leaves 0.02"),
    ],
)
async def test_I6_no_cap_is_exceeded(
    engine: AsyncEngine, tmp_path: Path, caps: dict[str, object], most: int, words: str
) -> None:
    world, run = await sealed(engine, caps=caps)
    with pytest.raises(OverCharged, match=rf"wrong.csv, line 3, M5: 0.0{most + 1} more, {words}") as refused:
        await proposed(world, run, f"M4,0.01; M5,0.0{most + 1}", tmp_path)
    assert refused.value.invariant == "I6"
    assert "M4" not in str(refused.value)
    one, other = [await proposed(world, run, f"M5,0.0{most}; M{row},0.01", tmp_path) for row in (6, 7)]
    await approved(world, one)
    with pytest.raises(OverCharged, match=r"seat 5: .* leaves 0.00"):
        await approved(world, other)
    assert await owed(world, 5, 6, 7) == [6 + most, 7, 6]


async def test_I6_nobody_is_charged_more_for_gates_they_did_not_cover(engine: AsyncEngine, tmp_path: Path) -> None:
    seats = alike(4)
    seats.shares_from[1] = day_number(JULY) + 1
    seats.ended_on[2] = day_number(JULY)
    world = await known(await build(engine, rules_of_preset(exits=None), seats))
    await world.claim(AID)
    await world.claim(AID, LATE_JULY)
    run = await world.sealed(LATE_DEBIT)
    assert await owed(world, 0, 1, 2, 3) == [10 * 2, 10, 0, 10 * 2], "0.10 a case is the cap"
    for line, left in (("M1,0.01", "0.00"), ("M2,0.01", "0.00"), ("M0,0.01", "0.00")):
        with pytest.raises(OverCharged, match=f"0.01 more, the cap per case over the gates it covers leaves {left}"):
            await proposed(world, run, line, tmp_path, on=LATE_DEBIT)
    await approved(world, await proposed(world, run, "M1,-0.10; M3,-0.10", tmp_path, on=LATE_DEBIT))
    await approved(world, await proposed(world, run, "M1,0.10; M3,0.10", tmp_path, on=LATE_DEBIT))
    await world.exits(3, day_number(JULY))
    await approved(world, await proposed(world, run, "M3,-0.20", tmp_path, on=LATE_DEBIT))
    with pytest.raises(OverCharged, match=r"M3: 0\.01 more, the cap per case over the gates it covers leaves 0\.00"):
        await proposed(world, run, "M3,0.01", tmp_path, on=LATE_DEBIT)


async def test_what_comes_in_for_a_run_is_what_it_charged_with_its_corrections(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M1,-0.06; M2,-0.02; M3,0.04", tmp_path))
    async with engine.begin() as connection:
        assert await collect(connection, run.run_id, world.shard(1), on=ON) == Settled(9, 7 * 6 + 4 + 10)
        assert await collect(connection, run.run_id, world.shard(1), on=ON) == Settled(0, 0)
    assert (await world.owed(1)).tolist() == [0] * 10
    await approved(world, await proposed(world, run, "M3,-0.01; M4,0.01", tmp_path))
    async with engine.begin() as connection:
        assert await collect(connection, run.run_id, world.shard(1), on=ON) == Settled(1, 1)
    assert await owed(world, 3, 4) == [-1, 0]
    assert await world.problems() == []


async def test_I6_no_balance_is_overdrawn(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await paying(engine, [300] * 10, share={"over_cap": "sponsor"})
    await world.claim(25_00)
    run = await world.sealed()
    assert await held_by(world) == [50] * 10
    with pytest.raises(OverCharged, match=r"M2: 0.51 more, the balance leaves 0.50"):
        await proposed(world, run, "M2,0.51", tmp_path)
    one, other = [await proposed(world, run, f"M2,0.50; M{row},-2.50", tmp_path) for row in (3, 4)]
    await approved(world, one)
    assert await held_by(world) == [50, 50, 0, 300, *[50] * 6]
    with pytest.raises(OverCharged, match=r"seat 2: 0.50 more, the balance leaves 0.00"):
        await approved(world, other)
    assert await world.problems() == []


async def test_what_the_sponsor_paid_for_a_member_is_not_given_back(engine: AsyncEngine, tmp_path: Path) -> None:
    waiver = {"name": "first", "joined_by": "2019-01-01", "gates_from": "2019-07-01", "gates_to": "2019-07-10"}
    world, run = await sealed(engine, waivers=[waiver | {"reason": "the first period is free"}])
    with pytest.raises(InvalidInput, match=r"M2: 0.01 back of 0.00 charged"):
        await proposed(world, run, "M2,-0.01", tmp_path)


async def test_once_members_share_no_more_nobody_is_charged_more(engine: AsyncEngine, tmp_path: Path) -> None:
    end = {"announced_on": "2019-07-20", "claims_within_days": 180, "refund": "nothing"}
    world, run = await sealed(engine, ends_on="2019-12-31", wind_down=end)
    await approved(world, await proposed(world, run, "M2,0.01; M3,-0.01", tmp_path, on=ON))
    with pytest.raises(InvalidInput, match="on 2019-07-20 the members of xianghubao share no more"):
        await proposed(world, run, "M4,0.01; M5,-0.01", tmp_path, on=date(2019, 7, 20))
    await approved(world, await proposed(world, run, "M5,-0.01", tmp_path, on=date(2019, 7, 20)))
    assert await world.problems() == []


async def test_a_correction_counts_in_the_cap_year_of_its_day(engine: AsyncEngine, tmp_path: Path) -> None:
    caps = {"per_case": None, "per_year": [{"amount": "0.08", "from_year": 2019}]}
    world, run = await sealed(engine, caps=caps)
    for on, amount in ((ON, "-0.05"), (date(2020, 1, 2), "0.08")):
        await approved(world, await proposed(world, run, f"M4,{amount}", tmp_path, on=on))
    with pytest.raises(OverCharged, match=r"the yearly cap leaves 0\.00"):
        await proposed(world, run, "M4,0.01", tmp_path, on=date(2020, 1, 3))
    await world.claim(AID, AUGUST)
    august = await world.sealed(AUGUST_DEBIT)
    charged = (await world.charged(august))[0]
    assert (charged[4], charged[5]) == (5, 2)
    assert await world.problems() == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("M77,0.01", "line 2, member_ref: 'M77': is no member of xianghubao"),
        ("M1,0.01; M1,0.02", "line 3, member_ref: 'M1': stands on line 2 already; give one amount"),
        ("M1,0.00", "line 2, amount: '0.00': changes nothing; leave the line out"),
        ("M1,much", "line 2, amount: 'much': 'much' is not an amount"),
        ("M1,0.001", "line 2, amount: '0.001': '0.001' has more than 2 decimal places"),
        (
            "M1,92233720368547758.07; M2,92233720368547758.07",
            "line 3, amount: '92233720368547758.07': is more than one",
        ),
        ("M1,", "line 2, amount: empty: is missing; every line needs one"),
        ("M1,-0.07", "line 2, M1: 0.07 back of 0.06 charged"),
    ],
)
async def test_every_wrong_line_is_named(engine: AsyncEngine, tmp_path: Path, lines: str, words: str) -> None:
    world, run = await sealed(engine)
    with pytest.raises(InvalidInput) as refused:
        await proposed(world, run, lines, tmp_path)
    assert words in str(refused.value)
    assert await world.value("SELECT count(*) FROM decisions") == 0


async def test_all_wrong_lines_are_named_at_once(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    with pytest.raises(InvalidInput) as refused:
        await proposed(world, run, "M1,much; M78,0.01; M2,0", tmp_path)
    assert all(f"line {line}," in str(refused.value) for line in (2, 3, 4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"on": date(2019, 7, 13)}, "was debited on 2019-07-14; a correction is not before that"),
        ({"against": Against.CARRY, "lines": "M1,-0.06; M2,-0.06; M3,-0.01"}, "the carry holds 0.12 and 0.13 would be"),
    ],
)
async def test_a_correction_that_cannot_be_is_refused_in_words(
    engine: AsyncEngine, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    world, run = await sealed(engine)
    asked = {"lines": "M1,-0.01"} | change
    with pytest.raises(InvalidInput, match=words):
        await approved(world, await proposed(world, run, folder=tmp_path, **asked))  # type: ignore[arg-type]
    assert await owed(world, 1, 2, 3) == [6, 6, 6]


async def test_no_more_than_a_few_seats(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    with pytest.raises(InvalidInput, match="more than 10,000 seats are not a few; void the run and plan it anew"):
        await proposed(world, run, "; ".join(f"X{number},0.01" for number in range(10_001)), tmp_path)


async def test_the_same_file_is_the_decision_it_was(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    first = await proposed(world, run, "M4,-0.02", tmp_path)
    assert await proposed(world, run, "M4,-0.02", tmp_path, actor="cleo") == first
    with pytest.raises(InvalidInput, match="this file is decision 1 already, against the sponsor"):
        await proposed(world, run, "M4,-0.02", tmp_path, against=Against.CARRY)
    done = await approved(world, first)
    again = await proposed(world, run, "M4,-0.02", tmp_path)
    assert (again.decision_id, again.state, again.decided_by) == (done.decision_id, DecisionState.DONE, APPROVER)
    with pytest.raises(NotOpen, match="decision 1 is done, by bo"):
        await approved(world, first)
    assert await owed(world, 4) == [4]


async def test_a_refused_file_may_be_proposed_again(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    first = await proposed(world, run, "M4,-0.02", tmp_path)
    async with engine.begin() as connection:
        await refuse(connection, first.decision_id, reason="against the carry instead", actor=PLANNER)
    second = await proposed(world, run, "M4,-0.02", tmp_path, against=Against.CARRY)
    assert (second.decision_id, second.state) == (2, DecisionState.PROPOSED)


async def test_of_several_seats_of_a_member_it_is_the_one_that_was_charged(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    seats = alike(11)
    seats.shares_from[10] += 365
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE shards SET seats = 11 WHERE number = 1")
    await world.change(1, seats)
    await world.sql(
        "INSERT INTO members SELECT plan_id, shard_id, 10, ref_bucket, 2, member_ref FROM members WHERE seat = 4"
    )
    waiting = await proposed(world, run, "M4,-0.02", tmp_path)
    assert waiting.detail["seats"] == [[world.shard(1), 4, -2]]


@pytest.mark.parametrize("actor", [PLANNER, PLANNER.upper(), PLANNER.title()])
async def test_I13_who_proposed_does_not_approve(engine: AsyncEngine, tmp_path: Path, actor: str) -> None:
    world, run = await sealed(engine)
    waiting = await proposed(world, run, "M4,-0.02", tmp_path)
    with pytest.raises(FourEyes):
        await approved(world, waiting, actor)
    assert await owed(world, 4) == [6]


async def test_a_run_that_holds_the_plan_is_waited_for(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    waiting = await proposed(world, run, "M4,-0.02", tmp_path)
    await world.claim(AID, AUGUST)
    august = await world.previewed(AUGUST_DEBIT)
    with pytest.raises(InvalidInput, match=f"run {august.run_id} holds the plan"):
        await approved(world, waiting)
    assert (await world.worked(await world.approved(august))).state is RunState.SEALED
    await approved(world, waiting)
    assert await owed(world, 4) == [6 + 5 - 2]
    assert await world.problems() == []


async def test_only_sealed_runs_are_corrected(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    waiting = await proposed(world, run, "M4,-0.02", tmp_path)
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED
    for attempt in (approved(world, waiting), proposed(world, run, "M5,-0.02", tmp_path)):
        with pytest.raises(NotNow, match="run:1 is voided; only what a sealed run charged is corrected"):
            await attempt


async def test_a_corrected_run_is_voided_only_once_it_is_corrected_back(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M4,-0.02", tmp_path))
    with pytest.raises(InvalidInput, match=r"seat 4 of run:1 was corrected by -0\.02 against the sponsor; correct it"):
        await world.voided(run)
    await approved(world, await proposed(world, run, "M4,0.02", tmp_path, against=Against.CARRY))
    with pytest.raises(InvalidInput, match="correct it back first"):
        await world.voided(run)
    await approved(world, await proposed(world, run, "M4,-0.020", tmp_path, against=Against.CARRY))
    await approved(world, await proposed(world, run, "M4,+0.02", tmp_path))
    await world.voided(run)
    assert (await world.worked(run)).state is RunState.VOIDED
    assert await owed(world, 4, 5) == [0, 0]
    assert await world.problems() == []


async def test_nothing_identifies_a_member_in_what_is_stored(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    await approved(world, await proposed(world, run, "M4,-0.02", tmp_path))
    for stored in ("SELECT detail || outcome FROM decisions", "SELECT jsonb_agg(audit_log) FROM audit_log"):
        assert "M4" not in str(await world.value(stored))


async def test_a_run_that_gave_is_not_corrected(engine: AsyncEngine, tmp_path: Path) -> None:
    world, run = await sealed(engine)
    await world.sql("UPDATE share_runs SET kind = 'credit', surplus = '{}'")
    with pytest.raises(InvalidInput, match="run:1 gave its members a surplus"):
        await proposed(world, run, "M4,-0.02", tmp_path)
