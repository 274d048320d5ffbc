"""Statements are taken once, whole, in the order of their days whichever way they come, or parked (I9)."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.layouts import Layouts
from engine.custodian.profile import load
from engine.custodian.reference import LENGTH, Kind, Reference
from engine.custodian.routes import NotSet
from engine.custodian.standing import read_standing, sent_batches
from engine.custodian.statement_rows import statement_of
from engine.errors import InvalidInput
from engine.reconcile import settling, taking
from engine.reconcile.proof import strips
from engine.reconcile.taking import is_account, take
from engine.store.tables import SHARD_SEATS, plans, shards
from tests.full_disk import full_disk
from tests.integration.bank_statement import BOOKED_ON, TODAY, Line, statement
from tests.integration.custody import ACCOUNT, RUN, Custody, custody, debit
from tests.integration.prepaid import prepaid

DAYS = (
    [Line(300, debit(0)), Line(200, debit(1))],
    [Line(-310, debit(0), "return", reason="AM04", original=300, charges=10), Line(100, debit(2))],
    [Line(100, debit(2)), Line(-2, "", "charge"), Line(40, "X-9", "other")],
    [Line(299, debit(3)), Line(-200, debit(1), "return", reason="MD06", original=200)],
)
"""What a custodian says on four days."""


def days(run: int = RUN) -> list[str]:
    """A statement for each day, each opening with what the one before closed with."""
    found, opening = [], 0
    for number, of_day in enumerate(DAYS):
        dated = [replace(line, on=BOOKED_ON + timedelta(days=number)) for line in of_day]
        named = [replace(line, reference=line.reference and of_run(line.reference, run)) for line in dated]
        found.append(statement(named, opening))
        opening += sum(line.amount for line in of_day)
    return found


def of_run(reference: str, run: int) -> str:
    """The reference with another run in it; what is none stays."""
    return reference if len(reference) < LENGTH else str(replace(Reference.read(reference), run=run))


async def four(engine: AsyncEngine, folder: Path, run: int = RUN, **changed: Any) -> Custody:
    """Four seats that were asked for what a run charged."""
    world = await custody(engine, folder, run=run, **changed)
    await world.owing([300, 200, 100, 300])
    await world.asked({1: [0, 1, 2, 3]})
    return world


async def end(world: Custody) -> list[Any]:
    """Everything that must be the same whichever way the statements came."""
    events = (
        "SELECT state, reason, positions FROM instruction_events WHERE source LIKE 'statement%'"
        " AND shard_id / 1000000 = :plan ORDER BY 1, 2"
    )
    open_ = (
        "SELECT code, amount_minor, suspense_minor, opened_on, state FROM breaks"
        " WHERE ordinal IS NOT NULL AND custodian_id = :custodian ORDER BY 1"
    )
    taken = "SELECT from_on, opening_minor, state FROM statements WHERE custodian_id = :custodian ORDER BY 1"
    rows = [await world.rows(query) for query in (events, open_, taken)]
    return [await world.states(), await world.books(), *rows]


async def test_a_statement_is_taken_and_again_changes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    (first,) = await world.takes(days()[0])
    before = await end(world)
    (again,) = await world.takes(days()[0], name="the-same.csv")
    assert (first.state, again.state, again.statement_id) == ("taken", "repeated", first.statement_id)
    assert await end(world) == before
    acts = "SELECT act FROM audit_log WHERE act LIKE '%statement%' ORDER BY audit_id"
    assert [act for (act,) in await world.world.rows(acts)] == ["import statement file", "repeat statement file"]
    async with world.engine.connect() as connection:
        known = await statement_of(connection, first.statement_id or 0)
    assert (known.file, known.lines, known.credits_minor, known.debits_minor) == ("statement.csv", 2, 500, 0)
    assert (known.from_on, known.to_on, known.opening_minor, known.closing_minor) == (BOOKED_ON, BOOKED_ON, 0, 500)
    kept = world.folder / "generic-csv" / "statements" / known.sha256.hex()
    assert kept.read_text("utf-8") == days()[0]


@pytest.mark.parametrize(
    ("text", "code", "amount", "place"),
    [
        (statement([Line(5)], closing=6), "BALANCE_BREAK", 1, "closing balance"),
        (statement([Line(5)], 7), "STATEMENT_GAP", 0, "opening balance"),
        (statement([Line(5)]).replace("0.05,", "0.055,"), "BALANCE_BREAK", 5, "line 3"),
        (statement([Line(5)]).replace("#entries,1", "#entries,7"), "BALANCE_BREAK", 0, "line 4"),
        (statement([Line(5)]).partition("#entries")[0], "STATEMENT_GAP", 0, "end of the file"),
    ],
)
async def test_I9_what_does_not_prove_itself_is_parked_and_posts_nothing(
    engine: AsyncEngine, tmp_path: Path, text: str, code: str, amount: int, place: str
) -> None:
    world = await four(engine, tmp_path)
    before = await world.books()
    (parked,) = await world.takes(text)
    assert (parked.state, parked.problems[0].place) == ("parked", place)
    assert await world.breaks() == [(code, amount, 0)]
    assert await world.lines() == []
    assert await world.books() == before
    (again,) = await world.takes(text)
    assert (again.state, again.statement_id) == ("parked", parked.statement_id)
    assert await world.breaks() == [(code, amount, 0)]


async def test_I9_the_database_takes_no_statement_twice_and_none_that_does_not_tie(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await four(engine, tmp_path)
    await world.takes(statement([Line(5)], closing=6))
    with pytest.raises(IntegrityError, match="statements_ties_check"):
        await world.world.sql("UPDATE statements SET state = 'taken', taken_at = now()")
    with pytest.raises(IntegrityError, match="statements_file_key"):
        await world.world.sql(
            "INSERT INTO statements (custodian_id, sha256, number, file, message, identity, books, lines,"
            " credits_minor, debits_minor, state, imported_by) SELECT custodian_id, sha256, number, file, message,"
            " identity, books, lines, credits_minor, debits_minor, state, imported_by FROM statements"
        )


RUNS = itertools.count(100)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), repeats=st.lists(st.integers(0, 3), max_size=2))
async def test_the_order_of_days_changes_nothing(
    engine: AsyncEngine, tmp_path: Path, order: list[int], repeats: list[int]
) -> None:
    found = []
    for chosen in ([0, 1, 2, 3], [*order, *repeats]):
        run = next(RUNS)
        world = await four(engine, tmp_path, run)
        for number in chosen:
            await world.takes(days(run)[number], name=f"day-{number}.csv")
        found.append(await end(world))
        assert [row[-1] for row in found[-1][-1]] == ["taken"] * 4
    assert found[0] == found[1]


async def test_what_came_too_early_is_taken_when_its_turn_comes(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    for number in (3, 2, 1):
        (parked,) = await world.takes(days()[number])
        assert parked.state == "parked"
    assert [code for code, *_ in await world.breaks()] == ["STATEMENT_GAP"] * 3
    taken = await world.takes(days()[0])
    assert [each.statement_id for each in taken] == [4, 3, 2, 1]
    assert {each.state for each in taken} == {"taken"}
    assert {code for code, *_ in await world.breaks()}.isdisjoint({"STATEMENT_GAP"})
    assert await world.world.rows("SELECT DISTINCT event, actor FROM break_events") == [("clear", "fay")]


async def test_days_that_overlap_are_parked_and_book_nothing_twice(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    first, second = days()[:2]
    await world.takes(first)
    await world.takes(second)
    before = await world.books()
    both = statement([*DAYS[0], *(replace(line, on=date(2019, 7, 16)) for line in DAYS[1])])
    (parked,) = await world.takes(both)
    assert (parked.state, [str(each.code) for each in parked.problems]) == ("parked", ["STATEMENT_GAP"])
    assert await world.books() == before


async def test_a_statement_in_other_bytes_is_a_duplicate(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    await world.takes(days()[0])
    before = await world.books()
    (again,) = await world.takes(statement(DAYS[0], note="sent again"))
    assert (again.state, [str(each.code) for each in again.problems]) == ("parked", ["DUPLICATE_FILE"])
    assert await world.breaks() == [("DUPLICATE_FILE", 0, 0)]
    assert await world.books() == before


async def test_I9_a_statement_that_comes_to_nothing_is_a_duplicate_too(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 1)
    await world.owing([300])
    await world.asked({1: [0]})
    lines = [Line(300, debit(0)), Line(-300, debit(0), "return", original=300)]
    for note, state in (("", "taken"), ("sent again", "parked")):
        (told,) = await world.takes(statement(lines, note=note))
        assert told.state == state
    assert await world.breaks() == [("DUPLICATE_FILE", 0, 0)]


async def test_the_break_of_a_copy_cut_off_is_cleared_by_the_whole_and_by_nothing_else(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await four(engine, tmp_path)
    await world.takes(days()[2], name="too early.csv")
    (told,) = await world.takes("\n".join(days()[0].splitlines()[:3]), name="cut.csv")
    assert told.state == "parked"
    open_ = "SELECT file FROM breaks JOIN statements USING (statement_id) WHERE breaks.state = 'open' ORDER BY 1"
    assert await world.rows(open_) == [("cut.csv",), ("too early.csv",)]
    await world.takes(days()[0], name="whole.csv")
    assert await world.rows(open_) == [("too early.csv",)]


async def test_a_day_without_lines_is_taken_and_a_missing_number_is_a_gap(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await camt_world(engine, tmp_path)
    await world.takes(camt(1), name="one.xml")
    empty = re.sub(r"<Ntry>.*?</Ntry>", "", camt(2), flags=re.DOTALL).replace("6.00", "3.00")
    after = camt(3).replace("6.00", "3.00").replace("9.00", "6.00")
    (gap,) = await world.takes(after, name="three.xml")
    assert [each.place for each in gap.problems] == ["sequence number"]
    taken = await world.takes(empty, name="two.xml")
    assert [(each.state, each.lines) for each in taken] == [("taken", 0), ("taken", 1)]
    assert await world.states() == ["booked", "sent", "booked", "none"]


async def test_an_account_that_held_money_begins_with_it_only_when_told(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    text = statement([Line(300, debit(0))], 1_000)
    (parked,) = await world.takes(text)
    (taken,) = await world.takes(text, begins=True)
    assert (parked.state, taken.state) == ("parked", "taken")


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1989, 12, 31), TODAY + timedelta(days=367), date(9999, 12, 31)])
async def test_I9_a_day_that_can_only_be_a_slip_parks_the_statement(
    engine: AsyncEngine, tmp_path: Path, day: date
) -> None:
    """Taken, the proof of every later day would have to go through all between."""
    world = await four(engine, tmp_path)
    (parked,) = await world.takes(statement([Line(300, debit(0)), Line(-5, on=day)]))
    assert [(str(each.code), each.place) for each in parked.problems] == [("UNREADABLE", "days")]
    assert f"{day}" in parked.problems[0].message


async def test_what_cannot_be_read_leaves_only_a_note(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    before = await end(world)
    with pytest.raises(InvalidInput, match=r"noise\.csv: line 1"):
        await world.takes("nothing that anybody knows\n", name="noise.csv")
    assert await end(world) == before
    acts = await world.world.rows("SELECT act, subject FROM audit_log ORDER BY audit_id DESC LIMIT 1")
    assert acts == [("refuse statement file", "custodian:generic-csv")]
    with pytest.raises(InvalidInput, match="no such file"):
        await take(engine, world.custodian, tmp_path / "absent.csv", files=tmp_path, actor="fay", on=TODAY)


async def test_a_disk_that_is_full_is_left_as_it_was(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    long = days()[0] + "\n" * 3_000_000
    with pytest.raises(OSError, match="large"):
        await takes_on_a_full_disk(world, long)
    assert list((tmp_path / "generic-csv" / "statements").iterdir()) == []
    (taken,) = await world.takes(days()[0])
    assert taken.state == "taken"


async def takes_on_a_full_disk(world: Custody, text: str) -> None:
    path = world.folder / "long.csv"
    path.write_text(text)
    with full_disk(2_500_000):
        await take(world.engine, world.custodian, path, files=world.folder, actor="fay", on=TODAY)


@pytest.mark.parametrize("cut", ["begin", "settle", "post_all", "append", "clear_missing", "finish", "record"])
async def test_killed_anywhere_and_run_again_it_is_the_same(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    found, deaths = [], 0
    for killed in (False, True):
        run = next(RUNS)
        world = await four(engine, tmp_path, run)
        for number in (1, 0, 2):
            if killed:
                with monkeypatch.context() as patched:
                    owner = next(each for each in (taking, settling) if hasattr(each, cut))
                    patched.setattr(owner, cut, dies_after(getattr(owner, cut)))
                    try:
                        await world.takes(days(run)[number], name=f"day-{number}.csv")
                    except Killed:
                        deaths += 1
            await world.takes(days(run)[number], name=f"day-{number}.csv")
        found.append(await end(world))
    assert found[0] == found[1]
    assert deaths > 0


class Killed(Exception):
    """The process is gone."""


def dies_after(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def dying(*given: Any, **named: Any) -> Any:
        await step(*given, **named)
        raise Killed

    return dying


async def test_two_at_once_take_it_once(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    (tmp_path / "day.csv").write_text(days()[0], "utf-8")
    both = [
        take(engine, world.custodian, tmp_path / "day.csv", files=tmp_path, actor="fay", on=TODAY) for _ in range(2)
    ]
    taken = await asyncio.gather(*both)
    assert sorted(each.state for (each,) in taken) == ["repeated", "taken"]
    assert await world.world.value("SELECT count(*) FROM statements") == 1


async def test_a_day_that_comes_to_nothing_is_taken_however_late_it_comes(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 3)
    await world.owing([300, 200, 100])
    await world.asked({1: [0, 1, 2]})
    back = [Line(100, debit(2)), Line(-100, debit(2), "return", reason="AM04", original=100)]
    tuesday, wednesday, thursday = (BOOKED_ON + timedelta(days=n) for n in (1, 2, 3))
    still = [statement([replace(line, on=day) for line in back], 300) for day in (tuesday, thursday)]
    await world.takes_lines(Line(300, debit(0)))
    await world.takes_lines(Line(200, debit(1), on=wednesday), opening=300)
    (elsewhere,) = await world.takes(still[1], name="thursday.csv")
    assert (elsewhere.state, elsewhere.problems[0].place) == ("parked", "opening balance"), "500 stood there by then"
    (late,) = await world.takes(still[0], name="tuesday.csv")
    assert (late.state, await world.states()) == ("taken", ["booked", "booked", "returned"])
    (again,) = await world.takes(still[0] + "\n", name="again.csv")
    assert [str(each.code) for each in again.problems] == ["DUPLICATE_FILE"]
    async with engine.connect() as connection:
        proofs = await strips(connection, world.custodian, BOOKED_ON, thursday)
    assert [(each.closing, each.difference, each.coverage.missing) for each in proofs[:3]] == [
        (300, 0, ()), (300, 0, ()), (500, 0, ()),
    ]  # fmt: skip
    # The next one follows what was booked last, not what came last.
    await world.takes_lines(Line(-2, "", "charge", on=thursday), opening=500)


def bill(*lines: Line, note: str) -> str:
    """A statement without balances."""
    rows = statement(lines).splitlines()
    return "\n".join([f"# {note}", *(row for row in rows if not row.startswith("#")), ""])


async def test_a_bill_without_balances_is_known_again_by_its_lines(engine: AsyncEngine, tmp_path: Path) -> None:
    csv = load("generic-csv").layouts.csv
    assert csv is not None
    world = await custody(engine, tmp_path, layouts=Layouts(csv=csv.model_copy(update={"totals": {}})))
    await world.owing([300, 300, 300, 300])
    await world.asked({1: [0, 1, 2, 3]})
    morning, evening = ([Line(300, debit(seat)) for seat in seats] for seats in ((0, 1), (2, 3)))
    found = []
    for name, lines, note in (
        ("1.csv", morning, "downloaded at 12"),
        ("2.csv", morning, "downloaded at 13"),
        ("3.csv", evening, "downloaded at 18"),
    ):
        (told,) = await world.takes(bill(*lines, note=note), name=name)
        found.append((told.state, [str(each.code) for each in told.problems]))
    assert found == [("taken", []), ("parked", ["DUPLICATE_FILE"]), ("taken", [])], "alike in count and sum only"
    assert await world.states() == ["booked"] * 4
    assert await world.breaks() == [("DUPLICATE_FILE", 0, 0)]


async def test_what_others_wrote_as_a_reference_is_not_stored(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    payer = "Zhang Wei 6222020000000044"
    await world.takes_lines(Line(40, payer, "other", batch=payer), Line(300, debit(0), batch="B-1"), Line(5, debit(9)))
    stored = await world.rows("SELECT reference, batch_reference, outcome FROM statement_lines ORDER BY ordinal")
    assert [(reference[0], outcome) for reference, _, outcome in stored] == [("#", "break"), ("D", "break")]
    assert stored[0][0] == stored[0][1]
    assert stored[1][0] == debit(9)


async def test_every_reason_is_kept_however_many_there_are(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 300)
    await world.owing([300] * 300)
    await world.asked({1: range(300)})
    await world.takes_lines(*(Line(300, debit(seat)) for seat in range(300)))
    back = [Line(-300, debit(seat), "return", reason=f"R{seat}", original=300) for seat in range(300)]
    await world.takes_lines(*back, opening=90_000)
    async with engine.connect() as connection:
        files = await sent_batches(connection, RUN, Kind.DEBIT)
        stands = await read_standing(connection, world.world.shard(1), RUN, Kind.DEBIT, batches=files)
    assert [stands.reasons[place] for place in stands.reason.tolist()] == [f"R{seat}" for seat in range(300)]


async def test_what_is_locked_while_a_statement_is_taken_is_posted_on_the_first_open_day(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path, 1)

    async def waits() -> bool:
        return bool(await world.world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with engine.begin() as connection:
        await connection.execute(select(shards.c.shard_id).order_by(shards.c.shard_id).with_for_update())
        await connection.execute(update(plans).values(locked_through=BOOKED_ON))
        taking = asyncio.create_task(world.takes(statement([Line(-2, "", "charge")])))
        while not await waits():
            assert not taking.done()
    assert [each.state for each in await taking] == ["taken"]
    posted = "SELECT effective_on FROM journals WHERE idempotency_key LIKE 'statement:%'"
    assert await world.rows(posted) == [(BOOKED_ON + timedelta(days=1),)]


async def test_the_shards_of_debits_and_top_ups_are_locked_in_one_order(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 4, 4, rules=prepaid())
    await world.owing([0] * 4, [300] * 4)
    await world.asked({2: [0]})
    top_up = str(Reference(Kind.TOP_UP, world.world.plan_id, 0, 3))
    lines = [Line(300, debit(SHARD_SEATS)), Line(900, top_up, "top-up")]
    async with engine.begin() as connection:
        await connection.execute(lock_of(world.world.shard(1)))
        taking = asyncio.create_task(world.takes(statement(lines)))
        while not await world.world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not taking.done()
        # Who goes on to the next shard now does not wait for whoever waits for it.
        await connection.execute(lock_of(world.world.shard(2)))
    assert [(each.state, each.problems) for each in await taking] == [("taken", ())]
    assert await world.breaks() == []


def lock_of(shard_id: int) -> Select[Any]:
    return select(shards.c.shard_id).where(shards.c.shard_id == shard_id).with_for_update(nowait=True)


CAMT = """<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>M</MsgId></GrpHdr>{}
</BkToCstmrStmt></Document>"""
STATEMENT = """<Stmt><Id>S{number}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb>
<Acct><Id><Othr><Id>{account}</Id></Othr></Id><Ccy>CNY</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="CNY">{opening}</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="CNY">{closing}</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
<Ntry><Amt Ccy="CNY">3.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2019-07-1{number}</Dt>
</BookgDt><NtryDtls><TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs></TxDtls></NtryDtls></Ntry></Stmt>"""


def camt(*numbers: int, account: str = ACCOUNT) -> str:
    stated = [
        STATEMENT.format(
            number=number, account=account, opening=f"{3 * number - 3}.00", closing=f"{3 * number}.00",
            reference=debit(number - 1),
        )
        for number in numbers
    ]  # fmt: skip
    return CAMT.format("".join(stated))


async def camt_world(engine: AsyncEngine, folder: Path, books_from: str = "camt.053") -> Custody:
    world = await custody(engine, folder, books_from=books_from)
    await world.owing([300, 300, 300])
    await world.asked({1: [0, 1, 2]}, sent_on=date(2019, 7, 1))
    return world


async def test_a_file_of_several_statements_is_taken_whole_whatever_their_order(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await camt_world(engine, tmp_path)
    taken = await world.takes(camt(3, 1), name="month.xml")
    assert [(each.number, each.state) for each in taken] == [(1, "parked"), (2, "taken")]
    taken = await world.takes(camt(2), name="rest.xml")
    assert [(each.number, each.state) for each in taken] == [(1, "taken"), (1, "taken")]
    assert await world.states() == ["booked", "booked", "booked", "none"]
    again = await world.takes(camt(3, 1), name="month.xml")
    assert [each.state for each in again] == ["repeated", "repeated"]


async def test_a_torn_file_is_refused_whole(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await camt_world(engine, tmp_path)
    torn = camt(1, 2)
    with pytest.raises(InvalidInput, match=r"torn\.xml"):
        await world.takes(torn[: torn.rindex("</Ntry>")], name="torn.xml")
    assert await world.world.value("SELECT count(*) FROM statements") == 0
    assert await world.states() == ["sent", "sent", "sent", "none"]


async def test_only_one_message_books_and_the_others_inform(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await camt_world(engine, tmp_path, books_from="csv")
    before = await world.books()
    (told,) = await world.takes(camt(1), name="informs.xml")
    assert (told.state, told.books, told.problems) == ("taken", False, ())
    assert [(what.outcome.name, total.amount_minor) for what, total in told.tally] == [("IGNORED", 300)]
    assert await world.books() == before
    assert await world.states() == ["sent", "sent", "sent", "none"]
    await world.takes_lines(Line(300, debit(0)))
    assert await world.states() == ["booked", "sent", "sent", "none"]


@pytest.mark.parametrize(
    ("number", "state"),
    [(ACCOUNT, "taken"), ("6222000099", "parked"), (ACCOUNT[1:], "parked"), (ACCOUNT + "1", "parked")],
)
async def test_a_statement_is_of_the_account_that_the_environment_names(
    engine: AsyncEngine, tmp_path: Path, number: str, state: str
) -> None:
    world = await camt_world(engine, tmp_path)
    (found,) = await world.takes(camt(1), name="one.xml", environment={"CUSTODIAN_GENERIC_ACCOUNT": number})
    assert found.state == state
    stored = await world.world.rows(
        "SELECT statements::text FROM statements UNION ALL SELECT audit_log::text FROM audit_log"
    )
    assert not [row for (row,) in stored if "6222" in row]


async def test_a_statement_that_names_an_account_needs_ours_to_be_held_against(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await camt_world(engine, tmp_path)
    with pytest.raises(NotSet, match="set CUSTODIAN_GENERIC_ACCOUNT in the environment"):
        await world.takes(camt(1), name="one.xml", environment={})
    assert await world.rows("SELECT statement_id FROM statements") == []
    # One that writes it another way is held against that.
    account = world.custodian.profile.account.model_copy(update={"stated_from": "CUSTODIAN_STATED"})
    profile = world.custodian.profile.model_copy(update={"account": account})
    other = replace(world, custodian=replace(world.custodian, profile=profile))
    environment = {"CUSTODIAN_GENERIC_ACCOUNT": ACCOUNT, "CUSTODIAN_STATED": "50880050/00011888"}
    (found,) = await other.takes(camt(1, account="50880050/00011888"), name="one.xml", environment=environment)
    assert found.state == "taken"


async def test_a_parked_file_that_cannot_be_read_any_more_is_no_fault_of_the_next(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await four(engine, tmp_path)
    await world.takes(days()[1])
    (kept,) = (tmp_path / "generic-csv" / "statements").iterdir()
    kept.write_text("nothing that anybody knows\n", "utf-8")
    taken = await world.takes(days()[0])
    assert [each.state for each in taken] == ["taken"]
    assert await world.rows("SELECT state FROM statements ORDER BY statement_id") == [("parked",), ("taken",)]


async def test_no_number_of_an_account_is_stored(engine: AsyncEngine, tmp_path: Path) -> None:
    number, payer = "6222000000000001", "6222020000000044"
    world = await four(engine, tmp_path)
    torn = days()[0].replace("3.00", payer, 1).replace("1.00,", payer + ",", 1)
    assert payer in torn
    (told,) = await world.takes(torn, name=f"{number}-20190715.csv", environment={"CUSTODIAN_GENERIC_ACCOUNT": number})
    assert told.state == "parked"
    ((stored, name),) = await world.rows("SELECT statements::text, file FROM statements")
    assert name == "****************-20190715.csv"
    assert [secret for secret in (number, payer) if secret in stored] == []


async def test_what_was_parked_for_the_account_too_is_taken_in_its_turn_once_that_is_right(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await camt_world(engine, tmp_path)
    wrong, right = ({"CUSTODIAN_GENERIC_ACCOUNT": number} for number in ("6222000099", "6222000011"))
    (parked,) = await world.takes(camt(2), name="two.xml", environment=wrong)
    assert [str(each.code) for each in parked.problems] == ["ACCOUNT_MISMATCH", "STATEMENT_GAP"]
    (parked,) = await world.takes(camt(2), name="two.xml", environment=right)
    assert [str(each.code) for each in parked.problems] == ["STATEMENT_GAP"]
    taken = await world.takes(camt(1), name="one.xml", environment=right)
    assert [each.state for each in taken] == ["taken", "taken"]


@pytest.mark.parametrize(
    ("stated", "number", "same"),
    [
        ("NL47 INGB 9999", "NL47INGB9999", True),
        ("nl47ingb9999", "NL47INGB9999", True),
        ("NL47INGB9999EUR", "NL47INGB9999", True),
        ("NL47INGB9999USD", "NL47INGB9999", False),
        ("12345678/1020304050EUR", "1020304050", True),
        ("12345678/11020304050", "1020304050", False),
        ("NL47INGB999", "NL47INGB9999", False),
        ("NL47INGB99990", "NL47INGB9999", False),
        ("INGB9999", "NL47INGB9999", False),
        ("*", "NL47INGB9999", False),
        ("***9999", "NL47INGB9999", True),
        ("****999", "NL47INGB9999", False),
        ("6222****1234", "6222000011111234", True),
        ("6222****1235", "6222000011111234", False),
        ("0*" * 200 + "1", "0" * 34, False),
        ("NL47INGB9998", "NL47INGB9999", False),
        ("-", "NL47INGB9999", False),
    ],
)
def test_an_account_is_known_however_it_is_written(stated: str, number: str, same: bool) -> None:
    assert is_account(stated, number, "EUR") is same


PAIN = """<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>
<GrpHdr><MsgId>R1</MsgId><CreDtTm>2019-07-15T08:00:00Z</CreDtTm></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>{message}</OrgnlMsgId><OrgnlMsgNmId>pain.008.001.08</OrgnlMsgNmId>{group}
</OrgnlGrpInfAndSts>{payment}</CstmrPmtStsRpt></Document>"""
REFUSED = "<StsRsnInf><Rsn><Cd>AC04</Cd></Rsn></StsRsnInf>"


@pytest.mark.parametrize(
    ("group", "status", "states"),
    [
        ("<GrpSts>ACCP</GrpSts>", "RJCT", ["rejected", "sent", "sent"]),
        ("", "ACCP", ["sent", "sent", "sent"]),
        (f"<GrpSts>RJCT</GrpSts>{REFUSED}", None, ["rejected", "rejected", "rejected"]),
    ],
)
async def test_what_a_status_report_refuses_is_rejected(
    engine: AsyncEngine, tmp_path: Path, group: str, status: str | None, states: list[str]
) -> None:
    world = await custody(engine, tmp_path, 3)
    await world.owing([300, 300, 300])
    reference = await world.asked({1: [0, 1, 2]})
    payment = f"""<OrgnlPmtInfAndSts><OrgnlPmtInfId>{reference}</OrgnlPmtInfId><TxInfAndSts>
    <OrgnlEndToEndId>{debit(0)}</OrgnlEndToEndId><TxSts>{status}</TxSts>{REFUSED}</TxInfAndSts></OrgnlPmtInfAndSts>"""
    text = PAIN.format(message=reference, group=group, payment=payment if status else "")
    (told,) = await world.takes(text, name="report.xml")
    assert (told.state, told.books) == ("taken", False)
    assert await world.states() == states
    refused = [("AC04",)] if "rejected" in states else []
    assert await world.rows("SELECT reason FROM instruction_events WHERE state = 3") == refused


async def test_a_file_refused_because_the_custodian_has_it_already_was_taken(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path, 1)
    await world.owing([300])
    reference = await world.asked({1: [0]})
    group = "<GrpSts>RJCT</GrpSts><StsRsnInf><Rsn><Cd>AM05</Cd></Rsn></StsRsnInf>"
    (told,) = await world.takes(PAIN.format(message=reference, group=group, payment=""), name="report.xml")
    assert (told.state, await world.states(), await world.breaks()) == ("taken", ["sent"], [])
    await world.takes_lines(Line(300, debit(0)))
    assert await world.states() == ["booked"]


async def test_a_report_that_refuses_what_was_booked_is_a_break(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 1)
    await world.owing([300])
    reference = await world.asked({1: [0]})
    await world.takes_lines(Line(300, debit(0)))
    await world.takes(PAIN.format(message=reference, group=f"<GrpSts>RJCT</GrpSts>{REFUSED}", payment=""))
    assert await world.breaks() == [("STATUS_CONFLICT", 0, 0)]
    assert await world.states() == ["booked"]


async def test_I10_every_line_of_every_statement_is_counted_once(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await four(engine, tmp_path)
    for text in days():
        await world.takes(text)
    wrong = (
        "SELECT statement_id FROM statements, LATERAL (SELECT sum((each->>'count')::bigint) AS lines,"
        " sum((each->>'amount_minor')::bigint) AS net FROM jsonb_array_elements(tally) AS each) AS told"
        " WHERE state = 'taken' AND (told.lines, told.net) IS DISTINCT FROM (statements.lines::numeric,"
        " (credits_minor - debits_minor)::numeric)"
    )
    assert await world.rows(wrong) == []
    suspense = await world.rows(
        "SELECT (SELECT coalesce(sum(suspense_minor), 0) FROM breaks) + (SELECT coalesce(sum(amount_minor), 0)"
        " FROM statement_lines WHERE outcome = 'pending') + (SELECT sum(amount) FROM journal_lines"
        " WHERE account_id % 10000 = 2611)"
    )
    assert suspense == [(0,)]
    await world.world.sql("UPDATE statements SET tally = '[]' WHERE statement_id = 2")
    assert await world.rows(wrong) == [(2,)]
