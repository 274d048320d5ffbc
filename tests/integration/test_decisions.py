"""Decisions: proposed by one person, done or refused once, by another when money moves (I13)."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.decisions import (
    Decision,
    DecisionState,
    FourEyes,
    Kind,
    NotOpen,
    check_four_eyes,
    close,
    decision_of,
    list_decisions,
    open_decision,
    propose,
    refuse,
)
from engine.errors import InvalidInput
from engine.runs.decided import carry_out
from tests.integration.worlds import World, alike, build, rules_of_preset

pytestmark = pytest.mark.integration

ON = date(2019, 7, 16)
ABSENT = {"run": 404, "reason": "none", "against": "sponsor", "seats": []}


async def small(engine: AsyncEngine, code: str = "xianghubao") -> World:
    return await build(engine, rules_of_preset(code), alike(2))


async def proposed(world: World, subject: str = "run:404", actor: str = "Änne") -> Decision:
    async with world.engine.begin() as connection:
        return await propose(connection, world.plan_id, Kind.CORRECTION, subject, ABSENT, on=ON, actor=actor)


async def test_what_is_proposed_stands_as_it_was(engine: AsyncEngine) -> None:
    world = await small(engine)
    first = await proposed(world)
    assert (first.name, first.plan_code, first.state) == ("decision:1", "xianghubao", DecisionState.PROPOSED)
    assert (first.detail, first.effective_on, first.proposed_by) == (ABSENT, ON, "Änne")
    assert (first.decided_by, first.outcome) == (None, None)
    async with engine.connect() as connection:
        assert await decision_of(connection, 1) == first
        with pytest.raises(InvalidInput, match="there is no decision 404"):
            await decision_of(connection, 404)


async def test_they_are_listed_by_plan_and_subject_the_newest_first(engine: AsyncEngine) -> None:
    one, other = await small(engine), await small(engine, "meituan")
    for world, subject in ((one, "run:1"), (other, "run:2"), (one, "run:2")):
        await proposed(world, subject)
    async with engine.connect() as connection:

        async def listed(plan_id: int | None = None, subject: str | None = None) -> list[int]:
            return [each.decision_id for each in await list_decisions(connection, plan_id, subject=subject)]

        assert await listed() == [3, 2, 1]
        assert await listed(one.plan_id) == [3, 1]
        assert await listed(one.plan_id, "run:2") == [3]
        assert await listed(subject="run:2") == [3, 2]


@pytest.mark.parametrize("actor", ["Änne", "änne", "ÄNNE"])
async def test_I13_nobody_approves_their_own(engine: AsyncEngine, actor: str) -> None:
    world = await small(engine)
    decision = await proposed(world)
    with pytest.raises(FourEyes, match="was proposed by Änne") as raised:
        check_four_eyes(decision, actor)
    assert raised.value.invariant == "I13"
    with pytest.raises(FourEyes):
        async with engine.begin() as connection:
            await carry_out(connection, 1, actor=actor)
    with pytest.raises(IntegrityError, match="decisions_four_eyes_check"):  # the database would not either
        async with engine.begin() as connection:
            await close(connection, decision, DecisionState.DONE, {}, actor=actor)
    assert await world.value("SELECT state FROM decisions") == "proposed"


async def test_who_proposed_may_refuse_and_both_are_in_the_audit_log(engine: AsyncEngine) -> None:
    world = await small(engine)
    await proposed(world)
    async with engine.begin() as connection:
        refused = await refuse(connection, 1, reason="a mistake", actor="Änne")
    assert (refused.state, refused.decided_by, refused.outcome) == (
        DecisionState.REFUSED, "Änne", {"reason": "a mistake"},
    )  # fmt: skip
    async with engine.connect() as connection:
        assert await decision_of(connection, 1) == refused
    log = await world.rows("SELECT actor, act, subject, detail FROM audit_log ORDER BY audit_id")
    assert log == [
        ("Änne", "propose correction", "run:404", {"decision": 1}),
        ("Änne", "refuse correction", "run:404", {"decision": 1, "reason": "a mistake"}),
    ]
    async with engine.begin() as connection:
        for attempt in (carry_out(connection, 1, actor="bo"), open_decision(connection, 1)):
            with pytest.raises(NotOpen, match="decision 1 is refused, by Änne"):
                await attempt


async def test_what_cannot_be_done_stays_open(engine: AsyncEngine) -> None:
    world = await small(engine)
    await proposed(world)
    with pytest.raises(InvalidInput, match="there is no run 404"):
        async with engine.begin() as connection:
            await carry_out(connection, 1, actor="bo")
    assert await world.rows("SELECT state, decided_by, outcome FROM decisions") == [("proposed", None, None)]


async def test_of_two_who_decide_at_once_the_second_is_told(engine: AsyncEngine) -> None:
    world = await small(engine)
    await proposed(world)

    async def refused(actor: str) -> Decision:
        async with engine.begin() as connection:
            return await refuse(connection, 1, reason="at once", actor=actor)

    found = await asyncio.gather(refused("bo"), refused("cleo"), return_exceptions=True)
    assert [type(each) for each in found if not isinstance(each, Decision)] == [NotOpen]
