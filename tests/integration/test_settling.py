"""What statements settle: small worlds, what is posted, where the instructions stand, and what is a break (I10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Selection
from engine.custodian.profile import BookingMode
from engine.custodian.reference import Kind, Reference
from engine.custodian.verdicts import NotConserved
from engine.ledger.accounts import Account
from engine.reconcile import settling
from engine.reconcile.decided import carry_out
from tests.integration.bank_statement import BOOKED_ON, Line, statement
from tests.integration.broken import propose
from tests.integration.custody import RUN, Custody, custody, debit
from tests.integration.prepaid import prepaid
from tests.integration.worlds import APPROVER

CASH, OWED, SUSPENSE = Account.CUSTODIAN_CASH, Account.CONTRIBUTIONS_RECEIVABLE, Account.SUSPENSE
CHARGES, CLEARING, INTEREST = Account.BANK_CHARGES, Account.RUN_CLEARING, Account.INTEREST
TRANSIT, AID, REFUNDS = Account.PAYOUTS_IN_TRANSIT, Account.AID_PAYABLE, Account.REFUNDS_PAYABLE

BACK = Line(-300, debit(0), "return", reason="AM04", original=300)

Books = dict[Account, int]


async def posted(custody: Custody) -> Books:
    """What is on the accounts, but for what the run itself charged."""
    found = await custody.world.accounts()
    # These runs were never sealed: only their clearing is wrong.
    assert [each for each in await custody.world.problems() if each.invariant != "I5"] == []
    return {account: amount for account, amount in found.items() if account is not CLEARING}


ONE_DEBIT: list[tuple[str, list[Line], str, Books, list[str]]] = [
    ("booked", [Line(300, debit(0))], "booked", {CASH: 300}, []),
    ("back the same day", [Line(300, debit(0)), BACK], "returned", {OWED: 300}, []),
    ("back first", [BACK, Line(300, debit(0))], "returned", {OWED: 300}, []),
    (
        "back with charges",
        [Line(300, debit(0)), replace(BACK, amount=-310, charges=10)],
        "returned",
        {CASH: -10, OWED: 300, CHARGES: 10},
        [],
    ),
    (
        "twice",
        [Line(300, debit(0)), Line(300, debit(0))],
        "booked",
        {CASH: 600, SUSPENSE: -300},
        ["DUPLICATE_AT_BANK 300 300"],
    ),
    (
        "another amount",
        [Line(299, debit(0))],
        "disputed",
        {CASH: 299, OWED: 300, SUSPENSE: -299},
        ["AMOUNT_MISMATCH 299 299"],
    ),
    (
        "nobody asked",
        [Line(5, debit(3)), Line(6, "INV-1", "other")],
        "sent",
        {CASH: 11, OWED: 300, SUSPENSE: -11},
        ["UNKNOWN_REFERENCE 5 5", "MISSING_IN_LEDGER 6 6"],
    ),
    (
        "taken back by the custodian",
        [Line(300, debit(0)), Line(-300, debit(0), "reversal")],
        "disputed",
        {SUSPENSE: 300},
        ["REVERSED -300 -300"],
    ),
    (
        "booked before it was sent",
        [Line(300, debit(0), on=date(2019, 7, 1))],
        "disputed",
        {CASH: 300, OWED: 300, SUSPENSE: -300},
        ["WRONG_DATE 300 300"],
    ),
    (
        "only back",
        [BACK],
        "sent",
        {CASH: -300, OWED: 300, SUSPENSE: 300},
        [],
    ),
    (
        "what every account has",
        [Line(-7, "", "charge"), Line(2, "", "interest")],
        "sent",
        {CASH: -5, OWED: 300, CHARGES: 7, INTEREST: -2},
        [],
    ),
]


@pytest.mark.parametrize(
    ("lines", "state", "books", "breaks"), [row[1:] for row in ONE_DEBIT], ids=[r[0] for r in ONE_DEBIT]
)
async def test_what_becomes_of_one_debit(
    engine: AsyncEngine, tmp_path: Path, lines: list[Line], state: str, books: Books, breaks: list[str]
) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]})
    taken = await world.takes_lines(*lines)
    assert await world.states() == [state, "none", "none", "none"]
    assert await posted(world) == {account: amount for account, amount in ({OWED: 0} | books).items() if amount}
    assert [" ".join(map(str, each)) for each in await world.breaks()] == breaks
    assert sum(total.count for _, total in taken.tally) == len(lines)
    assert sum(total.amount_minor for _, total in taken.tally) == sum(line.amount for line in lines)


async def test_each_day_and_shard_has_its_journal_and_the_seats_their_balances(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path, 3, 2)
    await world.owing([300, 200, 100], [50, 60])
    await world.asked({1: [0, 1, 2], 2: [1]})
    far, later = debit(65_536 + 1), date(2019, 7, 16)
    await world.takes_lines(
        Line(300, debit(0)), Line(200, debit(1), on=later), Line(60, far), Line(-60, far, "return", on=later)
    )
    assert (await world.world.owed(1)).tolist() == [0, 0, 100]
    assert (await world.world.owed(2)).tolist() == [50, 60]
    assert await world.world.rows(
        "SELECT shard_id % 10, idempotency_key, effective_on FROM journals WHERE kind = 'settlement' ORDER BY 1, 2"
    ) == [
        (1, "run:7:statement:1:2019-07-15", BOOKED_ON),
        (1, "run:7:statement:1:2019-07-16", later),
        (2, "run:7:statement:1:2019-07-15", BOOKED_ON),
        (2, "run:7:statement:1:2019-07-16", later),
    ]
    events = (
        "SELECT shard_id % 10, state, reason, positions FROM instruction_events"
        " WHERE source = 'statement:1' ORDER BY event_id"
    )
    assert await world.world.rows(events) == [(1, 4, None, [0, 1]), (2, 4, None, [1]), (2, 6, None, [1])]


async def test_all_that_a_run_charged_is_an_event_without_positions(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300, 0, 300, 300])
    await world.asked({1: [0, 2, 3]})
    await world.takes_lines(*(Line(300, debit(seat)) for seat in (0, 2, 3)))
    query = "SELECT state, positions IS NULL FROM instruction_events WHERE source = 'statement:1'"
    assert await world.world.rows(query) == [(4, True)]
    assert await world.states() == ["booked", "none", "booked", "booked"]


async def test_what_comes_back_after_settlement_is_open_again_and_a_break(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]})
    await world.takes_lines(Line(300, debit(0)))
    await world.state_of_run("settled")
    assert await world.states() == ["settled", *["none"] * 3]
    await world.takes_lines(replace(BACK, amount=-305, charges=5), opening=300)
    assert await world.states() == ["reopened", *["none"] * 3]
    assert await posted(world) == {CASH: -5, OWED: 300, CHARGES: 5}
    assert await world.breaks() == [("RETURNED_AFTER_SETTLEMENT", -305, 0)]


async def test_what_waits_leaves_suspense_when_a_later_statement_decides_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300, 200])
    await world.asked({1: [0, 1]}, sent_on=None)
    first = await world.takes_lines(Line(300, debit(0)), Line(-200, debit(1), "return", on=date(2019, 7, 16)))
    assert await posted(world) == {CASH: 100, OWED: 500, SUSPENSE: -100}
    assert await world.lines() == [("pending", None, 300), ("pending", None, -200)]
    await world.sends()
    await world.takes_lines(Line(200, debit(1)), opening=100)
    assert await world.states() == ["booked", "returned", "none", "none"]
    assert await posted(world) == {CASH: 300, OWED: 200}
    assert await world.lines() == [("matched", None, 300), ("matched", None, -200)]
    assert [(what.outcome.name, total.count) for what, total in first.tally] == [("PENDING", 2)]
    tally = "SELECT tally FROM statements ORDER BY statement_id"
    matched = {"outcome": "matched", "code": None, "why": None}
    assert await world.world.rows(tally) == [
        ([{**matched, "count": 2, "amount_minor": 100}],),
        ([{**matched, "count": 1, "amount_minor": 200}],),
    ]


async def test_what_waited_and_turns_out_wrong_stays_on_suspense_as_a_break(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]}, sent_on=None)
    await world.takes_lines(Line(299, debit(0)))
    await world.sends()
    await world.takes_lines(Line(-1, "", "charge"), opening=299)
    assert await world.breaks() == [("AMOUNT_MISMATCH", 299, 299)]
    assert await world.lines() == [("break", "AMOUNT_MISMATCH", 299)]
    assert await posted(world) == {CASH: 298, OWED: 300, SUSPENSE: -299, CHARGES: 1}


@pytest.mark.parametrize(
    ("booking", "lines", "states", "cash", "breaks"),
    [
        (BookingMode.GROSS_PER_BATCH, [(500, "batch")], ["booked", "booked"], 500, []),
        (BookingMode.GROSS_PER_BATCH, [(500, "batch"), (-200, "return")], ["booked", "returned"], 300, []),
        (BookingMode.NET_PER_FILE, [(300, "batch")], ["booked", "rejected"], 300, []),
        (BookingMode.GROSS_PER_BATCH, [(499, "batch")], ["disputed", "disputed"], 499, [("BATCH_SHORT", 499, 499)]),
    ],
)
async def test_a_batch_is_booked_as_one_line(
    engine: AsyncEngine,
    tmp_path: Path,
    booking: BookingMode,
    lines: list[tuple[int, str]],
    states: list[str],
    cash: int,
    breaks: list[tuple[str, int, int]],
) -> None:
    world = await custody(engine, tmp_path, 2, booking=booking)
    await world.owing([300, 200])
    reference = await world.asked({1: [0, 1]})
    if booking is BookingMode.NET_PER_FILE:
        refused = Line(0, debit(1), "return", reason="AM04", original=200)
        await world.takes_lines(refused)
    of = {"batch": {"batch": reference}, "return": {"reference": debit(1), "original": 200}}
    await world.takes_lines(*(Line(amount, kind=kind, **of[kind]) for amount, kind in lines))  # type: ignore[arg-type]
    assert await world.states() == states
    assert (await posted(world))[CASH] == cash
    assert await world.breaks() == breaks


async def test_lines_for_several_files_are_accepted_by_one_decision(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, booking=BookingMode.GROSS_PER_BATCH)
    await world.state_of_run("collecting")
    await world.owing([100] * 4)
    first, second = [await world.asked({1: there}, number=n) for n, there in enumerate(([0], [1]), 1)]
    await world.asked({1: [2, 3]}, number=3)
    short = [Line(90, kind="batch", batch=reference, count=1) for reference in (first, second)]
    await world.takes_lines(*short, Line(101, debit(2)), Line(102, debit(3)))
    async with engine.begin() as connection:
        decision = await propose(connection, Selection(run_id=world.run), Action.ACCEPT)
        await carry_out(connection, decision.decision_id, actor=APPROVER)
    assert await world.states() == ["booked"] * 4
    assert await world.breaks() == []
    lost, back = [(await posted(world)).get(account, 0) for account in (Account.BAD_DEBT, REFUNDS)]
    assert (lost, back) == (20, -3)


MONEY_OUT = [(Kind.PAYOUT, AID, 0), (Kind.REFUND, REFUNDS, 1)]


@pytest.mark.parametrize(("kind", "owed", "shard"), MONEY_OUT)
@pytest.mark.parametrize(
    ("lines", "state", "books"),
    [
        ([(-900, "payout")], "booked", (-900, 0, 0, 0)),
        ([(-900, "payout"), (895, "return")], "returned", (-5, -900, 0, 5)),
        ([(0, "return")], "rejected", (0, -900, 0, 0)),
    ],
)
async def test_money_out_is_confirmed_or_owed_again(
    engine: AsyncEngine,
    tmp_path: Path,
    kind: Kind,
    owed: Account,
    shard: int,
    lines: list[tuple[int, str]],
    state: str,
    books: tuple[int, int, int, int],
) -> None:
    world = await custody(engine, tmp_path)
    await world.asked({shard: [2]}, {shard: [900]}, kind=kind)
    # Owed since the run was sealed, in transit since it was sent: what is owed again shows as a credit.
    await world.owes(owed, shard, [0, 0, 900])
    parts = [
        Line(amount, debit(2, kind=kind), what, reason="AC04", original=900, charges=5 if amount > 0 else 0)
        if what == "return"
        else Line(amount, debit(2, kind=kind), what)
        for amount, what in lines
    ]
    await world.takes_lines(*parts)
    assert (await world.states(shard, kind))[2] == state
    found = await posted(world)
    cash, again, transit, charges = books
    assert found == {
        account: amount
        for account, amount in {CASH: cash, owed: 900 + again, TRANSIT: transit, CHARGES: charges}.items()
        if amount
    }


async def test_top_ups_are_the_members_deposits_where_the_seat_may_have_one(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path, 4, rules=prepaid())
    columns = await world.world.columns(1)
    ended, frozen_from, frozen_to = (columns.filled(n).copy() for n in ("ended_on", "frozen_from", "frozen_to"))
    ended[1], frozen_from[2], frozen_to[2] = 18_000, 18_000, 20_000
    await world.world.change(1, replace(columns, ended_on=ended, frozen_from=frozen_from, frozen_to=frozen_to))

    def top_up(seat: int, plan_id: int) -> str:
        return str(Reference(Kind.TOP_UP, plan_id, 0, seat))

    own = world.world.plan_id
    lines = [Line(900, top_up(seat, own), "top-up") for seat in (0, 1, 2, 0, 9)]
    taken = await world.takes_lines(*lines, Line(900, top_up(0, own + 1), "top-up"))
    assert await posted(world) == {CASH: 5400, SUSPENSE: -3600, Account.MEMBER_DEPOSITS: -1800}
    unknown = ("UNKNOWN_REFERENCE", 900, 900)
    assert await world.breaks() == [*[("MISSING_IN_LEDGER", 900, 900)] * 2, unknown, unknown]
    key = f"top-ups:statement:{taken.statement_id}:2019-07-15"
    assert await world.world.rows(
        "SELECT idempotency_key FROM journals WHERE kind = 'settlement' AND shard_id % 10 = 1"
    ) == [(key,)]


async def test_nothing_is_topped_up_in_a_plan_without_deposits(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.takes_lines(Line(900, str(Reference(Kind.TOP_UP, world.world.plan_id, 0, 0)), "top-up"))
    assert await world.breaks() == [("MISSING_IN_LEDGER", 900, 900)]


async def test_what_is_refused_and_booked_contradicts_itself(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300, 200])
    await world.asked({1: [0, 1]})
    refusals = [Line(0, debit(seat), "return", reason="AC04", original=9) for seat in (0, 1)]
    await world.takes_lines(Line(300, debit(0)))
    await world.takes_lines(*refusals, opening=300)
    assert await world.states() == ["booked", "rejected", "none", "none"]
    await world.takes_lines(refusals[1], Line(200, debit(1)), opening=300)
    assert await world.breaks() == [("STATUS_CONFLICT", 9, 0), ("STATUS_CONFLICT", 200, 200)]
    reasons = "SELECT state, reason FROM instruction_events WHERE source LIKE 'statement%' ORDER BY event_id"
    assert await world.world.rows(reasons) == [(4, None), (3, "AC04")]


async def test_a_refusal_of_an_attempt_before_is_no_news(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]})
    await world.asked({1: [0]}, attempt=2, number=2)
    await world.takes_lines(Line(0, debit(0), "return", reason="AC04"))
    assert await world.states() == ["sent", *["none"] * 3]


async def test_a_locked_period_stays_and_what_comes_late_is_posted_after_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300])
    await world.asked({1: [0]})
    await world.world.sql("UPDATE plans SET locked_through = '2019-07-17'")
    await world.takes_lines(Line(300, debit(0)), Line(-3, "", "charge"), Line(4, "X", "other", on=date(2019, 7, 18)))
    days = "SELECT idempotency_key, effective_on::text FROM journals WHERE kind = 'settlement' ORDER BY 1"
    assert await world.world.rows(days) == [
        ("run:7:statement:1:2019-07-15", "2019-07-18"),
        ("statement:1:2019-07-15", "2019-07-18"),
        ("statement:1:2019-07-18", "2019-07-18"),
    ]


async def test_a_run_without_home_is_posted_in_the_plan_it_names(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path)
    await world.asked({})
    await world.takes_lines(Line(5, debit(99)))
    query = "SELECT plan_id, run_id, kind, attempt, seat, state FROM breaks"
    assert await world.world.rows(query) == [(world.world.plan_id, RUN, "D", 1, 99, "open")]


async def test_what_no_statement_had_shown_is_explained_by_the_one_that_does(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    world = await custody(engine, tmp_path)
    await world.owing([300, 300])
    await world.asked({1: [0, 1]})
    for seat in (0, 1):
        await world.world.sql(
            "INSERT INTO breaks (custodian_id, plan_id, code, run_id, kind, attempt, seat, amount_minor,"
            " suspense_minor, opened_on) VALUES (:c, :p, 'MISSING_AT_BANK', 7, 'D', 1, :seat, 300, 0, '2019-07-18')",
            c=world.custodian.custodian_id, p=world.world.plan_id, seat=seat,
        )  # fmt: skip
    await world.takes_lines(Line(300, debit(1)))
    assert await world.world.rows("SELECT seat, state FROM breaks ORDER BY seat") == [(0, "open"), (1, "resolved")]
    assert await world.world.rows("SELECT event, actor FROM break_events") == [("clear", "fay")]


async def test_I10_what_is_posted_on_cash_is_what_the_lines_come_to(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await custody(engine, tmp_path)

    async def lost(*_: object) -> int:
        return 0

    monkeypatch.setattr(settling, "_post_general", lost)
    with pytest.raises(NotConserved, match=r"come to 5, 0 was posted.*\[I10\]"):
        await world.takes(statement([Line(5, "X", "other")]))
    assert await world.world.value("SELECT count(*) FROM statements") == 0
    assert await posted(world) == {}


async def test_a_charge_that_the_terms_do_not_have_is_a_break(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 1, known_lines=("interest",))
    await world.owing([300])
    await world.asked({1: [0]})
    await world.takes_lines(Line(-7, "", "charge"), Line(-1, debit(0), "charge"), Line(2, "", "interest"))
    assert await world.breaks() == [("FEE_UNEXPECTED", -7, -7), ("FEE_UNEXPECTED", -1, -1)]
    assert await world.states() == ["sent"]


async def test_a_sentence_where_a_code_belongs_is_cut_to_one(engine: AsyncEngine, tmp_path: Path) -> None:
    world = await custody(engine, tmp_path, 1)
    await world.owing([300])
    await world.asked({1: [0]})
    said = "".join(f"account {number} is closed; " for number in range(1_000))
    await world.takes_lines(Line(300, debit(0)), Line(-300, debit(0), "return", reason=said, original=300))
    assert await world.states() == ["returned"]
    assert await world.rows("SELECT reason FROM instruction_events WHERE reason IS NOT NULL") == [(said[:64],)]
