"""A run's debits through a custodian that errs: every fault found as what it is, nothing else, and the books prove it.

The custodian is the simulated one, a process of its own that sees only files. What it planted it tells at the end.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.custodian.actions import Action
from engine.custodian.break_rows import Selection
from engine.custodian.breaks import Code
from engine.custodian.desk import Desk
from engine.custodian.events import read_events
from engine.custodian.instructions import State
from engine.custodian.profile import Profile
from engine.custodian.reference import Kind, decode
from engine.custodian.registered import Custodian
from engine.custodian.transports import fetch_new
from engine.ledger.accounts import Account
from engine.members.shards import shards_of
from engine.reconcile.day import CustodianDay, play_day
from engine.reconcile.decided import carry_out
from engine.reconcile.funnel import funnel_of
from engine.reconcile.proof import reconciled, strips
from engine.reconcile.resolving import propose_resolution
from engine.reconcile.sending import send_all
from engine.reconcile.taking import take
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.simulator.bookings import CHARGES_MINOR
from engine.simulator.faults import OF_DEBITS, Fault
from engine.store.database import engine_on
from tests.integration.held import ACTOR, NOW, SHANGHAI, desk_in, instructed, profile_of, sealed
from tests.integration.worlds import APPROVER, DEBIT, PLANNER, World, alike

SEATS = (20_000, 20_000)
"""Of each shard."""

DECIDED_AFTER, OVER_AFTER = 14, 30
"""Days after the debit: when people decide on what is broken, and when everything is over."""

BROKEN = {
    Fault.DUPLICATE: Code.DUPLICATE_AT_BANK,
    Fault.AMOUNT_MISMATCH: Code.AMOUNT_MISMATCH,
    Fault.NOT_OURS: Code.MISSING_IN_LEDGER,
    Fault.MISSING_LINE: Code.MISSING_AT_BANK,
    Fault.LATE_RETURN: Code.RETURNED_AFTER_SETTLEMENT,
}
RETURNED = (Fault.INSUFFICIENT_FUNDS, Fault.CLOSED_ACCOUNT, Fault.RETURN_WITH_CHARGES)

DECISIONS = {
    Code.MISSING_AT_BANK: Action.WRITE_OFF,
    Code.AMOUNT_MISMATCH: Action.ACCEPT,
    Code.DUPLICATE_AT_BANK: Action.GIVE_BACK,
    Code.MISSING_IN_LEDGER: Action.WRITE_OFF,
}


def day(number: int) -> date:
    return DEBIT + timedelta(days=number)


@dataclass(frozen=True)
class Custody:
    """A run that was asked for, and the process that plays its custodian."""

    world: World
    run: Run
    custodian: Custodian
    desk: Desk

    @property
    def truth(self) -> Path:
        """What was planted."""
        return self.desk.files / "truth.csv"

    def simulate(self, until: date, rates: str = "truncated_file=0.3") -> None:
        """The custodian's days up to this one, in its own process."""
        command = [sys.executable, "-m", "engine.cli.main", "simulate", "custodian", "--seed", "7", "--rates", rates]
        command += ["--profile", self.custodian.code]
        folders = {"--in": "out", "--out": "in"}
        for option, name in folders.items():
            command += [option, str(self.desk.folder(self.custodian.code, name))]
        subprocess.run([*command, "--until", str(until), "--truth", str(self.truth)], check=True, capture_output=True)

    async def day(self, on: date) -> CustodianDay:
        """Our day: take what came, collect, and send what waits."""
        now = datetime(on.year, on.month, on.day, 9, tzinfo=SHANGHAI)
        engine = self.world.engine
        found = await play_day(engine, self.custodian, self.desk, on=on, now=now, actor=ACTOR)
        await send_all(engine, self.custodian, self.desk, now=now)
        return found

    async def decide(self, on: date) -> None:
        """Somebody proposes what is to be done about every break, somebody else approves it."""
        for code, action in DECISIONS.items():
            async with self.world.engine.begin() as connection:
                decision = await propose_resolution(
                    connection, Selection(code=code), action, reason="a test", on=on, actor=PLANNER
                )
                await carry_out(connection, decision.decision_id, actor=APPROVER)


async def custody(engine: AsyncEngine, folder: Path, *seats: int, profile: Profile | None = None) -> Custody:
    """Debits of these seats by shard, in files of 7,000, sent."""
    profile = profile or profile_of(limits={"max_items_per_file": 7_000})
    world, run, custodian = await sealed(engine, *map(alike, seats), profile=profile, aid_minor=300_000_00)
    found = Custody(world, run, custodian, desk_in(folder))
    await instructed(world, run, found.desk)
    sent = await send_all(engine, custodian, found.desk, now=NOW)
    assert (sent.instructions, sent.waiting) == (sum(seats), 0)
    return found


async def test_every_fault_is_found_as_what_it_is_and_nothing_else(engine: AsyncEngine, tmp_path: Path) -> None:
    found = await custody(engine, tmp_path, *SEATS)
    refused = parked = 0
    for number in range(OVER_AFTER):
        found.simulate(day(number))
        done = await found.day(day(number))
        refused += sum(bool(file.refused) for file in done.files)
        parked += sum(each.state == "parked" for file in done.files for each in file.statements)
        if number == DECIDED_AFTER:
            await found.decide(day(number))
    (run,) = done.collected.runs
    assert run.state is RunState.SETTLED
    truth = planted(found.truth)
    assert set(truth) == set(Fault), "every kind of fault was planted"
    assert refused + parked == len(truth[Fault.TRUNCATED_FILE])
    assert await found.world.value("SELECT count(*) FROM breaks WHERE statement_id > 0 AND ordinal IS NULL") == parked
    await _breaks_are_those_planted(found, truth)
    await _returns_are_those_planted(found, truth)
    await _books_are_proved(found, truth)
    await _the_same_again_changes_nothing(found)


def planted(truth: Path) -> dict[Fault, list[tuple[str, int]]]:
    """(reference, amount) by fault."""
    rows: dict[Fault, list[tuple[str, int]]] = {}
    for row in pyarrow.csv.read_csv(truth).to_pylist():
        rows.setdefault(Fault(row["fault"]), []).append((row["reference"], row["amount_minor"]))
    return rows


def instructions_of(rows: list[tuple[str, int]]) -> Counter[tuple[int, int]]:
    """(attempt, seat) of references."""
    said = decode(pa.array([reference for reference, _ in rows], pa.string()))
    assert said.valid.all()
    return Counter(zip(said.attempt.tolist(), said.seat.tolist(), strict=True))


async def _breaks_are_those_planted(found: Custody, truth: dict[Fault, list[tuple[str, int]]]) -> None:
    rows = await found.world.rows("SELECT code, attempt, seat, amount_minor FROM breaks WHERE ordinal IS NOT NULL")
    rows += await found.world.rows("SELECT code, attempt, seat, amount_minor FROM breaks WHERE statement_id IS NULL")
    told = {code: [row[1:] for row in rows if row[0] == code] for code in {row[0] for row in rows}}
    assert set(told) == set(BROKEN.values())
    for fault, code in BROKEN.items():
        if fault is Fault.NOT_OURS:
            assert Counter(amount for *_, amount in told[code]) == Counter(amount for _, amount in truth[fault])
        else:
            assert Counter((attempt, seat) for attempt, seat, _ in told[code]) == instructions_of(truth[fault]), code


async def _returns_are_those_planted(found: Custody, truth: dict[Fault, list[tuple[str, int]]]) -> None:
    by_reason: dict[str | None, Counter[tuple[int, int]]] = {}
    async with found.world.engine.connect() as connection:
        for shard in await shards_of(connection, found.world.plan_id):
            for event in await read_events(connection, shard.shard_id, found.run.run_id, Kind.DEBIT):
                if event.state in (State.RETURNED, State.REOPENED):
                    assert event.positions is not None
                    seats = (shard.first_seat + event.positions).tolist()
                    by_reason.setdefault(event.reason, Counter()).update((event.attempt, seat) for seat in seats)
    expected = {
        "AM04": instructions_of(truth[Fault.INSUFFICIENT_FUNDS] + truth[Fault.RETURN_WITH_CHARGES]),
        "AC04": instructions_of(truth[Fault.CLOSED_ACCOUNT]),
        "MD06": instructions_of(truth[Fault.LATE_RETURN]),
    }
    assert by_reason == expected
    charges = CHARGES_MINOR * len(truth[Fault.RETURN_WITH_CHARGES])
    assert (await found.world.accounts())[Account.BANK_CHARGES] == charges


async def _books_are_proved(found: Custody, truth: dict[Fault, list[tuple[str, int]]]) -> None:
    """I10 to I12, and the ledger itself."""
    async with found.world.engine.connect() as connection:
        told = (await reconciled(connection, found.custodian)).as_json()
        funnel = await funnel_of(connection, found.run.run_id)
        proofs = await strips(connection, found.custodian, DEBIT, day(OVER_AFTER))
    on_lines = sum(len(truth[fault]) for fault in BROKEN if fault is not Fault.MISSING_LINE)
    assert (told["pending"], told["in_breaks"], told["difference"]) == (0, on_lines, "0.00")
    assert told["lines"] == told["matched"] + told["in_breaks"]
    assert {proof.difference for proof in proofs} == {0}
    assert funnel.assessed.count == sum(SEATS)
    assert (funnel.in_flight.count, funnel.returned.count) == (0, len(truth[Fault.LATE_RETURN]))
    assert funnel.settled.count + funnel.written_off.count + funnel.returned.count == sum(SEATS)
    assert not await found.world.problems()


async def _the_same_again_changes_nothing(found: Custody) -> None:
    before = await books_of(found.world.engine)
    for path in sorted((found.desk.folder(found.custodian.code, "in") / "taken").glob("*")):
        if "-cut" not in path.name:
            for taken in await take(
                found.world.engine, found.custodian, path, files=found.desk.files, actor=ACTOR, on=day(OVER_AFTER)
            ):
                assert taken.state == "repeated"
    assert await books_of(found.world.engine) == before


async def test_a_custodian_that_books_files_net_is_told_and_taken_like_any_other(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    bank = profile_of("daikou-bank", limits={"max_items_per_file": 150})
    debits = bank.debits.model_copy(update={"account_pattern": None})
    found = await custody(engine, tmp_path, 400, profile=bank.model_copy(update={"debits": debits}))
    for number in range(1, 4):
        found.simulate(day(number), "all=0,insufficient_funds=0.1,closed_account=0.05")
        done = await found.day(day(number))
        assert not any(file.needs_a_person for file in done.files)
        (run,) = done.collected.runs
        assert (run.missing, run.state) == (0, RunState.COLLECTING)
    truth = planted(found.truth)
    async with engine.connect() as connection:
        funnel = await funnel_of(connection, found.run.run_id)
        (proof,) = await strips(connection, found.custodian, day(3), day(3))
    assert funnel.returned.count == len(truth[Fault.CLOSED_ACCOUNT]) > 10
    assert funnel.settled.count + funnel.returned.count + funnel.in_flight.count == 400
    assert (proof.difference, await found.world.value("SELECT count(*) FROM breaks")) == (0, 0)
    assert run.asked is not None, "the funds may be there tomorrow"


TABLES = {
    "journals": "shard_id, kind, effective_on, accounts, amounts",
    "posting_segments": "shard_id, account_id, positions, amounts",
    "instruction_events": "shard_id, run_id, kind, attempt, state, reason, positions, amounts",
    "breaks": "code, run_id, kind, attempt, seat, amount_minor, suspense_minor, state",
    "statements": "identity, lines, state",
}


async def books_of(engine: AsyncEngine) -> dict[str, list[Any]]:
    """What was posted and written down, in whatever order it came."""
    async with engine.connect() as connection:
        return {
            table: sorted(str(tuple(row)) for row in await connection.execute(text(f"SELECT {names} FROM {table}")))
            for table, names in TABLES.items()
        }


@asynccontextmanager
async def cloned(database_url: str, name: str) -> AsyncIterator[AsyncEngine]:
    """A copy of a database that nobody is connected to."""
    url = make_url(database_url)
    server = await asyncpg.connect(
        host=str(url.query["host"]), port=int(str(url.query.get("port", 5432))), user=url.username, database="postgres"
    )
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {url.database}")
        async with engine_on(url.set(database=name).render_as_string(hide_password=False)) as engine:
            yield engine
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


async def test_statements_in_any_order_of_days_end_in_the_same_books(database_url: str, tmp_path: Path) -> None:
    rates = ",".join(f"{fault}=0.02" for fault in OF_DEBITS) + ",truncated_file=0"
    async with engine_on(database_url) as engine:
        found = await custody(engine, tmp_path, 150, 150)
        found.simulate(day(2), rates)
        paths = await fetch_new(found.custodian, found.desk)
    assert len(paths) == 3
    ends = []
    for number, order in enumerate(permutations(paths)):
        async with cloned(database_url, f"order_{number}") as engine:
            states = [
                each.state
                for path in order
                for each in await take(engine, found.custodian, path, files=found.desk.files, actor=ACTOR, on=day(3))
            ]
            ends.append(await books_of(engine))
            assert states.count("taken") == 3
            assert ("parked" in states) is (list(order) != paths)
    without = [{table: rows for table, rows in end.items() if table != "breaks"} for end in ends]
    assert all(end == without[0] for end in without)
    for end in ends:
        assert [row for row in end["breaks"] if "STATEMENT_GAP" not in row] == ends[0]["breaks"]
        assert all("resolved" in row for row in end["breaks"] if "STATEMENT_GAP" in row)
