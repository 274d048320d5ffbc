"""The queue of breaks: who has which, how old and how bad they are, and what a later statement clears."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.aging import AGES
from engine.custodian.break_rows import Break, Selection, break_of, count_breaks, history_of, list_breaks, weigh_breaks
from engine.custodian.breaks import BreakRefused, Code, Severity
from engine.custodian.breaks import State as Stands
from engine.custodian.registered import list_custodians
from engine.errors import InvalidInput
from engine.plans.rules import BusinessDays, Roll
from engine.reconcile.breaks import assign, clear_breaks, clear_missing, comment
from engine.reconcile.dossier import dossier_of
from engine.store.tables import breaks
from tests.integration.broken import DAY, Teller, propose, resolve, sent
from tests.integration.worlds import alike

pytestmark = pytest.mark.integration

TODAY = date(2019, 8, 30)
HOLIDAY = date(2019, 8, 28)


@pytest.fixture
async def teller(engine: AsyncEngine, tmp_path: Path) -> Teller:
    return await sent(engine, tmp_path, alike(8))


async def listed(connection: AsyncConnection, **chosen: Any) -> list[Break]:
    return await list_breaks(connection, Selection(**chosen), await list_custodians(connection), on=TODAY)


async def numbers_of(connection: AsyncConnection, **chosen: Any) -> list[int]:
    return [each.break_id for each in await listed(connection, **chosen)]


async def test_the_queue_is_what_is_asked_for(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        mine, other, closed, proposed = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1, 2, 3, 4], 50)
        (foreign,) = await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 20_000_00)
        await assign(connection, [mine, proposed], "cara", on=DAY, actor="anna")
        await resolve(connection, [closed], Action.GIVE_BACK)
        await propose(connection, [proposed], Action.GIVE_BACK)
        for chosen, expected in (
            ({}, [mine, other, proposed, foreign]),
            ({"assigned_to": "cara"}, [mine, proposed]),
            ({"states": (Stands.OPEN,)}, [other, foreign]),
            ({"states": (Stands.RESOLVED,)}, [closed]),
            ({"code": Code.MISSING_IN_LEDGER}, [foreign]),
            ({"run_id": teller.run.run_id}, [mine, other, proposed]),
            ({"plan_id": teller.world.plan_id}, [mine, other, proposed, foreign]),
            ({"plan_id": 99}, []),
            ({"custodian": teller.custodian.code}, [mine, other, proposed, foreign]),
            ({"custodian": "another"}, []),
            ({"ids": (closed, mine)}, [mine, closed]),
        ):
            assert await numbers_of(connection, **chosen) == expected, chosen
        custodians = await list_custodians(connection)
        counts = await count_breaks(connection, Selection(), custodians, on=TODAY)
        assert [tuple(each) for each in counts] == [
            (Code.MISSING_IN_LEDGER, Stands.OPEN, 1, 20_000_00, 20_000_00),
            (Code.DUPLICATE_AT_BANK, Stands.OPEN, 1, 50, 50),
            (Code.DUPLICATE_AT_BANK, Stands.ASSIGNED, 1, 50, 50),
            (Code.DUPLICATE_AT_BANK, Stands.PROPOSED, 1, 50, 50),
        ]


async def test_pages_hold_each_break_once(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, range(7), 1)
        custodians, seen, after = await list_custodians(connection), [], 0
        while page := await list_breaks(connection, Selection(), custodians, on=TODAY, after=after, limit=3):
            seen += [each.break_id for each in page]
            after = seen[-1]
        assert seen == numbers


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    opened=st.lists(
        st.tuples(st.dates(date(2019, 6, 1), TODAY), st.sampled_from([1, 9_999, 10_000, 5_000_000, 200_000_000])),
        min_size=1, max_size=6,
    ),
    band=st.sampled_from([None, *AGES]), least=st.sampled_from([None, *Severity]), holidays=st.booleans(),
)  # fmt: skip
async def test_ages_and_severities_that_choose_are_those_that_are_shown(
    teller: Teller, engine: AsyncEngine, opened: list[tuple[date, int]], band: Any, least: Any, holidays: bool
) -> None:
    async with engine.connect() as connection:
        for on, amount in opened:
            await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], amount, on_suspense=False, opened_on=on)
        if holidays:
            calendar = BusinessDays(roll=Roll.FOLLOWING, holidays=(HOLIDAY,), worked=(date(2019, 8, 24),))
            json = '{"business_days": ' + calendar.model_dump_json() + "}"
            await connection.execute(
                text("UPDATE custodians SET profile = profile || CAST(:days AS jsonb)"), {"days": json}
            )
        closed = "UPDATE breaks SET state = 'resolved', closed_on = opened_on + 3 WHERE break_id % 3 = 0"
        await connection.execute(text(closed))
        weighed = await weigh_breaks(
            connection, Selection(states=tuple(Stands)), await list_custodians(connection), on=TODAY
        )
        of_each = Counter(each.severity for each in await listed(connection, states=tuple(Stands)))
        assert {each.severity: each.number for each in weighed} == of_each
        await connection.execute(text("UPDATE breaks SET state = 'open', closed_on = NULL"))
        everything = await listed(connection)
        assert len(everything) == len(opened)
        expected = [
            each.break_id
            for each in everything
            if (band is None or each.age == band) and (least is None or each.severity >= least)
        ]
        assert await numbers_of(connection, age=band, least=least) == expected
        await connection.rollback()


async def test_a_break_is_taken_on_and_remarked_on_with_its_history(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        (number,) = await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1], 50)
        assert await assign(connection, [number, number], "cara", on=DAY, actor="anna") == 1
        await assign(connection, [number], "dora", on=DAY, actor="cara", comment="my leave")
        await comment(connection, number, "the bank says it was its fault", on=DAY, actor="dora")
        steps = [tuple(each)[:4] for each in await history_of(connection, number)]
        assert steps == [
            ("assign", "anna", "to cara", ""),
            ("assign", "cara", "to dora", "my leave"),
            ("comment", "dora", "", "the bank says it was its fault"),
        ]
        custodians = await list_custodians(connection)
        found = await break_of(connection, number, custodians, on=TODAY)
        assert (found.state, found.assigned_to) == (Stands.ASSIGNED, "dora")
        acts = (await connection.execute(text("SELECT act, subject FROM audit_log WHERE act LIKE '%break%'"))).all()
        about = f"break:{number}"
        assert [tuple(row) for row in acts] == [*[("assign breaks", about)] * 2, ("comment on break", about)]
        await resolve(connection, [number], Action.GIVE_BACK)
        with pytest.raises(BreakRefused, match="nothing, it is final"):
            await assign(connection, [number], "anna", on=DAY, actor="anna")
        await comment(connection, number, "all is well", on=DAY, actor="anna")
        with pytest.raises(InvalidInput, match="no break 99"):
            await assign(connection, [number, 99], "anna", on=DAY, actor="anna")
        with pytest.raises(InvalidInput, match="empty"):
            await comment(connection, number, "  ", on=DAY, actor="anna")


async def test_what_a_later_statement_explains_is_cleared_once_and_never_what_holds_money(
    teller: Teller, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        first, second = await teller.breaks(connection, Code.STATEMENT_GAP, [None, None], 0, on_suspense=False)
        (money,) = await teller.breaks(connection, Code.MISSING_IN_LEDGER, [None], 5)
        held = await propose(connection, [second], Action.EXPLAIN)
        where = breaks.c.code == Code.STATEMENT_GAP
        words: dict[str, Any] = {"actor": "statement:9", "reason": "it came"}
        cleared = await clear_breaks(connection, where, on=DAY, **words)
        assert cleared == (1, (held.decision_id,))
        assert await clear_breaks(connection, where, on=DAY, **words) == (0, (held.decision_id,))
        assert [each.event for each in await history_of(connection, first)] == ["clear"]
        with pytest.raises(BreakRefused, match="on suspense"):
            await clear_breaks(connection, breaks.c.break_id == money, on=DAY, **words)


async def test_what_was_missing_is_cleared_when_it_came_or_was_asked_again(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        numbers = await teller.breaks(connection, Code.MISSING_AT_BANK, [1, 2, 3], 5, on_suspense=False)
        run_id = teller.run.run_id
        assert await clear_missing(connection, run_id, on=DAY, actor="clock") == (0, ())
        await teller.book(connection, [2])
        assert await clear_missing(connection, run_id, on=DAY, actor="clock") == (1, ())
        assert await numbers_of(connection) == [numbers[0], numbers[2]]


async def test_a_dossier_holds_the_line_the_postings_and_the_history(teller: Teller, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await teller.suspend(connection, 50)
        await connection.execute(
            text(
                "INSERT INTO statements (custodian_id, sha256, number, file, message, identity, books, lines,"
                " credits_minor, debits_minor, state, imported_by, taken_at) VALUES (1, '', 1, 'bill.csv', 'csv', '1',"
                " true, 1, 50, 0, 'taken', 'anna', now())"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO statement_lines (statement_id, ordinal, place, booked_on, amount_minor, kind,"
                " charges_minor, count, outcome, code, stage) VALUES (1, 4, 'line 5', '2019-07-16', 50, 'credit', 0, 1,"
                " 'break', 'DUPLICATE_AT_BANK', 1)"
            )
        )
        await teller.breaks(connection, Code.DUPLICATE_AT_BANK, [1], 50, on_suspense=False)
        await connection.execute(text("UPDATE breaks SET statement_id = 1, ordinal = 4, suspense_minor = 50"))
        before = await dossier_of(connection, 1, on=TODAY)
        assert before.line is not None
        assert (before.line.file, before.line.place, before.line.amount_minor) == ("bill.csv", "line 5", 50)
        assert [(each.account, each.amount_minor) for each in before.postings] == [
            ("custodian cash", 50),
            ("suspense", -50),
        ]
        assert before.actions == (Action.GIVE_BACK, Action.WRITE_OFF, Action.EXPLAIN)
        await resolve(connection, [1], Action.GIVE_BACK)
        after = await dossier_of(connection, 1, on=TODAY)
        assert [(each.account, each.amount_minor) for each in after.postings[2:]] == [
            ("suspense", 50),
            ("refunds payable", -50),
        ]
        assert after.actions == ()
        assert after.found.days == 0
        with pytest.raises(InvalidInput, match="no break 99"):
            await dossier_of(connection, 99, on=TODAY)
