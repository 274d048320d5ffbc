"""Claims on real PostgreSQL: what is refused, what is recorded, and what two people at once can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import claims
from engine.claims import Claim, ClaimRefused, Event, State
from engine.errors import InvalidInput
from engine.plans import NEVER, PlanRules, day_number, parse
from engine.plans.member_rules import RefundAtEnd, WindDown
from engine.resources import config_dir
from engine.store.tables import claim_events, plans, share_runs
from engine.store.tables import claims as claims_table

pytestmark = pytest.mark.integration

JOINED, WAITED = date(2019, 1, 1), date(2019, 4, 1)
DIAGNOSED, FILED = date(2019, 6, 1), date(2019, 7, 1)
NOTICE, ENDS = date(2019, 7, 7), date(2019, 7, 10)
FULL_AID = 300_000_00


@dataclass(frozen=True)
class Membership:
    shard_id: int = 1_000_001
    seat: int = 7
    born_on: date = date(1990, 5, 5)
    shares_from: int = day_number(JOINED)
    claims_from: int = day_number(WAITED)
    ended_on: int = NEVER
    frozen_from: int = 0
    frozen_to: int = 0
    tier: int = 0


ANNA = Membership()


@pytest.fixture(scope="module")
def rules() -> PlanRules:
    return parse((config_dir() / "plans" / "xianghubao.toml").read_text("utf-8"), "xianghubao.toml")


@pytest.fixture
async def plan_id(engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        row = insert(plans).values(code="xianghubao", name="相互宝", currency="CNY").returning(plans.c.plan_id)
        return int((await connection.execute(row)).scalar_one())


@pytest.fixture
async def connection(engine: AsyncEngine, plan_id: int) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


async def file(connection: AsyncConnection, plan_id: int, rules: PlanRules, seat: int = 7, **given: Any) -> Claim:
    asked: dict[str, Any] = {"diagnosed_on": DIAGNOSED, "on": FILED, "actor": "anna"} | given
    return await claims.file(connection, plan_id, rules, replace(ANNA, seat=seat), **asked)


async def publish(connection: AsyncConnection, plan_id: int, rules: PlanRules, seat: int = 7) -> Claim:
    claim = await file(connection, plan_id, rules, seat)
    return await claims.publish(connection, claim.claim_id, rules, on=NOTICE, actor="bo")


async def passed(connection: AsyncConnection, plan_id: int, rules: PlanRules, seat: int = 7) -> Claim:
    claim = await publish(connection, plan_id, rules, seat)
    return await claims.pass_(connection, claim.claim_id, on=ENDS, actor="bo")


async def plan_run(connection: AsyncConnection, plan_id: int, debit_on: date = date(2019, 7, 14)) -> int:
    row = {"plan_id": plan_id, "rules_version": 1, "debit_on": debit_on, "state": "planned", "planned_by": "anna"}
    return int((await connection.execute(insert(share_runs).values(row).returning(share_runs.c.run_id))).scalar_one())


async def events(connection: AsyncConnection, claim: Claim) -> list[str]:
    return [decision.event for decision in await claims.history(connection, claim.claim_id)]


async def test_a_claim_from_filing_to_a_sealed_run(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    claim = await file(connection, plan_id, rules)
    assert (claim.number, claim.state, claim.aid_minor, claim.notice) == (1, State.FILED, FULL_AID, None)
    claim = await claims.publish(connection, claim.claim_id, rules, on=NOTICE, actor="bo")
    assert (claim.state, claim.notice) == (State.PUBLISHED, (NOTICE, ENDS))
    assert (await claims.pass_(connection, claim.claim_id, on=ENDS, actor="bo")).state is State.PASSED
    assert await claims.passed_claims(connection, plan_id) == [(claim.claim_id, 1, FULL_AID, NOTICE)]
    run_id = await plan_run(connection, plan_id)
    await claims.share(connection, [claim.claim_id], run_id, on=ENDS)
    assert await claims.claims_in(connection, run_id) == [claim.claim_id]
    assert await claims.passed_claims(connection, plan_id) == []
    await claims.shared(connection, [claim.claim_id], run_id, on=ENDS)
    after = await claims.claim_of(connection, claim.claim_id)
    assert (after.state, after.run_id) == (State.SHARED, run_id)
    told = [(d.event, d.happened_on, d.actor) for d in await claims.history(connection, claim.claim_id)]
    assert told == [
        (Event.FILE, FILED, "anna"),
        (Event.PUBLISH, NOTICE, "bo"),
        (Event.PASS, ENDS, "bo"),
        (Event.SHARE, ENDS, f"run:{run_id}"),
        (Event.SEAL, ENDS, f"run:{run_id}"),
    ]


@pytest.mark.parametrize(
    ("diagnosed_on", "cover", "message"),
    [
        (JOINED - timedelta(1), ANNA, "the membership begins on 2019-01-01"),
        (WAITED - timedelta(1), ANNA, "inside the waiting time: claims begin on 2019-04-01"),
        (DIAGNOSED, replace(ANNA, ended_on=day_number(DIAGNOSED)), "the membership ended on 2019-06-01"),
        (DIAGNOSED, replace(ANNA, born_on=date(1950, 1, 1)), "69 years old"),
        (FILED + timedelta(1), ANNA, "after the filing on 2019-07-01"),
        (date(2022, 1, 29), ANNA, "diagnoses made by 2022-01-28|after the filing"),
    ],
)
async def test_filing_is_refused(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, diagnosed_on: date, cover: Membership, message: str
) -> None:
    with pytest.raises((ClaimRefused, InvalidInput), match=message):
        await claims.file(connection, plan_id, rules, cover, diagnosed_on=diagnosed_on, on=FILED, actor="anna")
    assert await claims.claims_of(connection, plan_id) == []


@pytest.mark.parametrize(
    "cover",
    [
        replace(ANNA, claims_from=day_number(DIAGNOSED)),
        replace(ANNA, ended_on=day_number(DIAGNOSED) + 1),
        replace(ANNA, shares_from=day_number(DIAGNOSED), claims_from=day_number(DIAGNOSED)),
    ],
)
async def test_the_first_and_the_last_day_of_cover_count(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, cover: Membership
) -> None:
    filed = await claims.file(connection, plan_id, rules, cover, diagnosed_on=DIAGNOSED, on=FILED, actor="anna")
    assert filed.state is State.FILED


async def test_a_diagnosis_after_the_plan_ended_is_refused(
    connection: AsyncConnection, plan_id: int, rules: PlanRules
) -> None:
    with pytest.raises(ClaimRefused, match="takes diagnoses made by 2022-01-28"):
        await file(connection, plan_id, rules, diagnosed_on=date(2022, 1, 29), on=date(2022, 2, 1))
    assert (await file(connection, plan_id, rules, diagnosed_on=date(2022, 1, 28), on=date(2022, 2, 1))).number == 1


@pytest.mark.parametrize(("on", "taken"), [(date(2022, 7, 27), True), (date(2022, 7, 28), False)])
async def test_a_plan_that_ended_takes_claims_for_a_while(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, on: date, taken: bool
) -> None:
    end = WindDown(announced_on=date(2021, 12, 28), claims_within_days=180, refund=RefundAtEnd.NOTHING)
    ending = rules.model_copy(update={"wind_down": end})
    if taken:
        assert (await file(connection, plan_id, ending, diagnosed_on=date(2022, 1, 28), on=on)).number == 1
    else:
        with pytest.raises(ClaimRefused, match="ended on 2022-01-28 and took claims until 2022-07-27"):
            await file(connection, plan_id, ending, diagnosed_on=date(2022, 1, 28), on=on)


async def test_a_plan_that_ended_without_a_wind_down_takes_none(
    connection: AsyncConnection, plan_id: int, rules: PlanRules
) -> None:
    last, ended = date(2022, 1, 28), rules.model_copy(update={"wind_down": None})
    with pytest.raises(ClaimRefused, match="ended on 2022-01-28 and took claims until 2022-01-28"):
        await file(connection, plan_id, ended, diagnosed_on=last, on=date(2022, 1, 29))
    assert (await file(connection, plan_id, ended, diagnosed_on=last, on=last)).number == 1


@pytest.mark.parametrize(
    ("born_on", "asked", "aid_minor"),
    [
        (date(1979, 6, 2), None, 300_000_00),
        (date(1979, 6, 1), None, 100_000_00),
        (date(1990, 1, 1), 50_000_00, 50_000_00),
        (date(1990, 1, 1), 300_000_00, 300_000_00),
        (date(1990, 1, 1), 300_000_01, None),
        (date(1990, 1, 1), 0, None),
        (date(1990, 1, 1), -1, None),
    ],
)
async def test_aid_is_the_age_band_or_a_given_part_of_it(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, born_on: date, asked: int | None, aid_minor: int | None
) -> None:
    cover = replace(ANNA, born_on=born_on)
    filing = claims.file(
        connection, plan_id, rules, cover, diagnosed_on=DIAGNOSED, on=FILED, actor="anna", aid_minor=asked
    )
    if aid_minor is None:
        with pytest.raises(InvalidInput, match=r"more than 0 and at most the plan's 300,000\.00"):
            await filing
    else:
        assert (await filing).aid_minor == aid_minor


async def test_a_diagnosis_has_one_live_claim(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    first = await file(connection, plan_id, rules)
    with pytest.raises(ClaimRefused, match=f"claim {first.claim_id} is already filed for this diagnosis"):
        await file(connection, plan_id, rules)
    await claims.withdraw(connection, first.claim_id, reason="typing error", on=FILED, actor="anna")
    assert (await file(connection, plan_id, rules)).number == 2


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (
            date(2019, 7, 8),
            "2019-07-08 is not a notice day of xianghubao; `fentan calendar xianghubao --year 2019` prints",
        ),
        (date(2019, 6, 21), "was filed on 2019-07-01, which is after 2019-06-21"),
    ],
)
async def test_publishing_needs_a_notice_day(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, on: date, message: str
) -> None:
    claim = await file(connection, plan_id, rules)
    with pytest.raises(ClaimRefused, match=message):
        await claims.publish(connection, claim.claim_id, rules, on=on, actor="bo")
    assert await events(connection, claim) == ["file"]


async def test_a_notice_that_lasts_blocks_passing(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    claim = await publish(connection, plan_id, rules)
    with pytest.raises(ClaimRefused, match="its notice lasts until before 2019-07-10, and it is 2019-07-09"):
        await claims.pass_(connection, claim.claim_id, on=ENDS - timedelta(1), actor="bo")
    assert await claims.pass_due(connection, plan_id, on=ENDS - timedelta(1), actor="bo") == []
    assert await claims.pass_due(connection, plan_id, on=ENDS, actor="bo") == [claim.claim_id]


async def test_an_open_objection_blocks_passing(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    claim = await publish(connection, plan_id, rules)
    for number in (1, 2):
        raised = await claims.object_to(connection, claim.claim_id, reason="a doubt", on=NOTICE, actor="member")
        assert raised.number == number
    await claims.resolve(connection, claim.claim_id, 1, resolution="unfounded", on=NOTICE, actor="bo")
    with pytest.raises(ClaimRefused, match="objections open: 2; resolve them, or reject the claim"):
        await claims.pass_(connection, claim.claim_id, on=ENDS, actor="bo")
    assert await claims.pass_due(connection, plan_id, on=ENDS, actor="bo") == []
    await claims.resolve(connection, claim.claim_id, 2, resolution="unfounded", on=ENDS, actor="bo")
    assert await claims.pass_due(connection, plan_id, on=ENDS, actor="bo") == [claim.claim_id]
    assert await events(connection, claim) == ["file", "publish", "object", "object", "resolve", "resolve", "pass"]


@pytest.mark.parametrize("on", [NOTICE - timedelta(1), ENDS])
async def test_objections_are_raised_during_the_notice_only(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, on: date
) -> None:
    claim = await publish(connection, plan_id, rules)
    with pytest.raises(ClaimRefused, match="outside its notice, which lasts from 2019-07-07 until before 2019-07-10"):
        await claims.object_to(connection, claim.claim_id, reason="a doubt", on=on, actor="member")
    assert await claims.objections_to(connection, claim.claim_id) == []


@pytest.mark.parametrize(("number", "on"), [(2, NOTICE), (1, NOTICE - timedelta(1)), (1, NOTICE)])
async def test_an_objection_is_resolved_once_and_not_before_it_is_raised(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, number: int, on: date
) -> None:
    claim = await publish(connection, plan_id, rules)
    await claims.object_to(connection, claim.claim_id, reason="a doubt", on=NOTICE, actor="member")
    if (number, on) == (1, NOTICE):
        await claims.resolve(connection, claim.claim_id, 1, resolution="unfounded", on=NOTICE, actor="bo")
    with pytest.raises(ClaimRefused, match=f"has no open objection {number}"):
        await claims.resolve(connection, claim.claim_id, number, resolution="again", on=on, actor="bo")


async def test_every_decision_is_taken_once(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    claim = await passed(connection, plan_id, rules)
    refused: list[Awaitable[object]] = [
        claims.publish(connection, claim.claim_id, rules, on=NOTICE, actor="bo"),
        claims.pass_(connection, claim.claim_id, on=ENDS, actor="bo"),
        claims.reject(connection, claim.claim_id, reason="late", on=ENDS, actor="bo"),
    ]
    for again in refused:
        with pytest.raises(
            ClaimRefused,
            match=r"a claim that is passed cannot .*; possible now: withdraw, share, bill, take back, recover",
        ):
            await again
    assert await claims.pass_due(connection, plan_id, on=ENDS, actor="bo") == []
    await claims.withdraw(connection, claim.claim_id, reason="recovered", on=ENDS, actor="anna")
    with pytest.raises(ClaimRefused, match="possible now: nothing, it is final"):
        await claims.withdraw(connection, claim.claim_id, reason="recovered", on=ENDS, actor="anna")
    assert await events(connection, claim) == ["file", "publish", "pass", "withdraw"]


async def test_there_is_no_such_claim(connection: AsyncConnection) -> None:
    with pytest.raises(InvalidInput, match="there is no claim 404"):
        await claims.pass_(connection, 404, on=ENDS, actor="bo")


async def test_passed_claims_wait_in_filing_order(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    filed = [await publish(connection, plan_id, rules, seat) for seat in (9, 4, 6)]
    due = await claims.pass_due(connection, plan_id, on=ENDS, actor="bo")
    waiting = await claims.passed_claims(connection, plan_id)
    assert due == [claim.claim_id for claim in filed] == [claim.claim_id for claim in waiting]
    assert [claim.number for claim in waiting] == [1, 2, 3]


async def test_a_run_takes_all_its_claims_or_none(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    ready, early = await passed(connection, plan_id, rules, 1), await publish(connection, plan_id, rules, 2)
    run_id = await plan_run(connection, plan_id)
    with pytest.raises(ClaimRefused, match=f"run {run_id} cannot share claims {early.claim_id}: each must be passed"):
        async with connection.begin_nested():
            await claims.share(connection, [ready.claim_id, early.claim_id], run_id, on=ENDS)
    assert await events(connection, ready) == ["file", "publish", "pass"]
    assert await claims.claims_in(connection, run_id) == []


async def test_a_claim_belongs_to_one_run(connection: AsyncConnection, plan_id: int, rules: PlanRules) -> None:
    claim = await passed(connection, plan_id, rules)
    first, second = await plan_run(connection, plan_id), await plan_run(connection, plan_id, date(2019, 7, 28))
    await claims.share(connection, [claim.claim_id], first, on=ENDS)
    for step in (claims.share, claims.shared):
        with pytest.raises(ClaimRefused, match=f"claims {claim.claim_id}"):
            await step(connection, [claim.claim_id], second, on=ENDS)
    assert await claims.release(connection, [claim.claim_id], second, on=ENDS) == []
    assert await claims.release(connection, [claim.claim_id], first, on=ENDS) == [claim.claim_id]
    assert await claims.release(connection, [claim.claim_id], first, on=ENDS) == []
    await claims.share(connection, [claim.claim_id], second, on=ENDS)
    await claims.shared(connection, [claim.claim_id], second, on=ENDS)
    assert await claims.release(connection, [claim.claim_id], second, on=ENDS) == [claim.claim_id]


async def test_a_claim_leaves_its_run_until_that_is_approved(
    connection: AsyncConnection, plan_id: int, rules: PlanRules
) -> None:
    leaves, stays = await passed(connection, plan_id, rules, 1), await passed(connection, plan_id, rules, 2)
    run_id = await plan_run(connection, plan_id)
    await claims.share(connection, [leaves.claim_id, stays.claim_id], run_id, on=ENDS)
    await claims.withdraw(connection, leaves.claim_id, reason="recovered", on=ENDS, actor="anna")
    assert await claims.claims_in(connection, run_id) == [stays.claim_id]
    assert (await claims.history(connection, leaves.claim_id))[-1].detail == {"reason": "recovered", "run_id": run_id}
    await connection.execute(update(share_runs).values(approved_by="bo", state="approved"))
    with pytest.raises(ClaimRefused, match=f"its run {run_id} is approved; void the run first"):
        await claims.withdraw(connection, stays.claim_id, reason="recovered", on=ENDS, actor="anna")
    assert await claims.release(connection, [leaves.claim_id, stays.claim_id], run_id, on=ENDS) == [stays.claim_id]


@pytest.mark.parametrize("change", ["UPDATE claim_events SET actor = 'no one'", "DELETE FROM claim_events"])
async def test_I4_the_history_of_a_claim_is_append_only(
    connection: AsyncConnection, plan_id: int, rules: PlanRules, change: str
) -> None:
    await file(connection, plan_id, rules)
    with pytest.raises(DBAPIError, match=r"claim_events is append-only: .* refused \[I4\]"):
        await connection.execute(text(change))


async def test_the_database_knows_that_a_run_carries_what_it_shares(
    connection: AsyncConnection, plan_id: int, rules: PlanRules
) -> None:
    await file(connection, plan_id, rules)
    with pytest.raises(DBAPIError, match="claims_run_check"):
        await connection.execute(update(claims_table).values(state="sharing"))


async def test_two_who_pass_at_once_have_one_effect(engine: AsyncEngine, plan_id: int, rules: PlanRules) -> None:
    async with engine.begin() as connection:
        claim = await publish(connection, plan_id, rules)

    async def pass_it(actor: str) -> str:
        async with engine.begin() as connection:
            try:
                await claims.pass_(connection, claim.claim_id, on=ENDS, actor=actor)
            except ClaimRefused:
                return "refused"
            return "passed"

    async def pass_all(actor: str) -> str:
        async with engine.begin() as connection:
            return "passed" if await claims.pass_due(connection, plan_id, on=ENDS, actor=actor) else "refused"

    outcomes = await asyncio.gather(pass_it("anna"), pass_all("bo"), pass_it("cho"), pass_all("du"))
    assert sorted(outcomes) == ["passed", "refused", "refused", "refused"]
    async with engine.connect() as connection:
        assert await events(connection, claim) == ["file", "publish", "pass"]


async def test_an_objection_not_yet_committed_blocks_passing(
    engine: AsyncEngine, plan_id: int, rules: PlanRules
) -> None:
    async with engine.begin() as connection:
        claim = await publish(connection, plan_id, rules)

    async def pass_all() -> list[int]:
        async with engine.begin() as connection:
            return await claims.pass_due(connection, plan_id, on=ENDS, actor="bo")

    async with engine.connect() as objector, engine.connect() as observer:
        await claims.object_to(objector, claim.claim_id, reason="a doubt", on=NOTICE, actor="member")
        passing = asyncio.create_task(pass_all())
        waiting = select(func.count()).select_from(text("pg_locks")).where(text("NOT granted"))
        while not await observer.scalar(waiting):
            await observer.rollback()
        await objector.commit()
        assert await passing == []


async def test_numbers_stay_dense_when_many_file_at_once(engine: AsyncEngine, plan_id: int, rules: PlanRules) -> None:
    async def file_one(seat: int) -> None:
        async with engine.connect() as connection:
            await file(connection, plan_id, rules, seat)
            await (connection.rollback() if seat % 3 == 0 else connection.commit())

    await asyncio.gather(*(file_one(seat) for seat in range(12)))
    async with engine.connect() as connection:
        assert [claim.number for claim in await claims.claims_of(connection, plan_id)] == list(range(1, 9))
        assert await connection.scalar(select(func.count()).select_from(claim_events)) == 8
