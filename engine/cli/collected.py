"""The custodian's part of the demo: from a sealed run to closed books, with a custodian that errs by a seed.

The custodian is a process of its own that sees nothing but files. Days on which nothing is to be done are passed over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.csv
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.shell import Addresses, child_environment
from engine.custodian.actions import Action
from engine.custodian.break_rows import Selection, count_breaks
from engine.custodian.breaks import Code, State
from engine.custodian.desk import Desk
from engine.custodian.instructions import State as Standing
from engine.custodian.profile import load
from engine.custodian.registered import assign, register
from engine.decisions import Decision
from engine.errors import FentanError, InvalidInput
from engine.ledger.accounts import Account
from engine.ledger.trial_balance import trial_balance
from engine.members.collection import leaving_day
from engine.members.shards import shards_of
from engine.money import grouped, to_major
from engine.plans.rules import PlanRules
from engine.reconcile.closing import close_run, missing_to_close
from engine.reconcile.collecting import collect_day
from engine.reconcile.day import take_new
from engine.reconcile.decided import carry_out
from engine.reconcile.funnel import PARTS, Funnel, funnel_of
from engine.reconcile.instructing import instruct
from engine.reconcile.payouts import aid_owed, propose_payouts
from engine.reconcile.proof import Proof, proof_of, reconciled
from engine.reconcile.refunds import propose_refunds, refunds_owed
from engine.reconcile.resolving import propose_resolution
from engine.reconcile.sending import send_all
from engine.reconcile.sponsor import sponsor_of
from engine.runs.run import Run, load_run
from engine.runs.states import RunState
from engine.settings import Settings
from engine.store.tables import instruction_events, statements

CUSTODIAN = "generic-csv"
ENVIRONMENT = {"CUSTODIAN_GENERIC_ACCOUNT": "DEMO"}
PHASES = ("instruct", "custodian", "statements", "reconcile", "close")
LOOKED_AT = (2, 6, 10)
"""Days after the debit: the bookings and what came back of them, what is missing, and what was asked again."""

LATE_DAYS = 21
"""By then the returns are there that come when everybody takes a debit for settled."""

LONGER = 4
"""How often the demo looks again a little later, when something is still under way at its end."""

DECISIONS: Mapping[Code, tuple[Action, str]] = {
    Code.MISSING_AT_BANK: (Action.ASK_AGAIN, "the custodian has no trace of it"),
    Code.AMOUNT_MISMATCH: (Action.ACCEPT, "too little to argue about"),
    Code.DUPLICATE_AT_BANK: (Action.GIVE_BACK, "booked twice: it is the member's"),
    Code.RETURNED_AFTER_SETTLEMENT: (Action.WRITE_OFF, "the days to ask again are over"),
    Code.STATEMENT_GAP: (Action.EXPLAIN, "a copy that was cut off; the whole statement is there"),
    Code.BALANCE_BREAK: (Action.EXPLAIN, "a copy that was cut off; the whole statement is there"),
}
"""What the demo's finance people decide. Money that nobody can explain stays on suspense, for eyes."""

RETURNED, CUT_OFF, ELSE = "debits and payments returned", "statements cut off", "anything else"

FAULTS: Mapping[str, tuple[tuple[str, ...], Code | None]] = {
    RETURNED: (("insufficient_funds", "closed_account", "return_with_charges", "late_return"), None),
    "debits booked twice": (("duplicate",), Code.DUPLICATE_AT_BANK),
    "debits booked with another amount": (("amount_mismatch",), Code.AMOUNT_MISMATCH),
    "debits never booked": (("missing_line",), Code.MISSING_AT_BANK),
    "payments that are not ours": (("not_ours",), Code.MISSING_IN_LEDGER),
    CUT_OFF: (("truncated_file",), None),
}
"""What the custodian does wrong, in words: its own names for it, and the code of the break that finds it."""

_TOLD = {
    *(code for _, code in FAULTS.values() if code is not None),
    *(Code.RETURNED_AFTER_SETTLEMENT, Code.STATEMENT_GAP, Code.BALANCE_BREAK),  # returns, and statements cut off
}


class NotClosed(FentanError):
    """The demo's run did not come to closed books."""


@dataclass(frozen=True)
class Books:
    """How it ended: the run, its funnel, the statements' lines, the proof of the last day, faults planted and found."""

    run: Run
    funnel: Funnel
    reconciliation: dict[str, Any]
    proof: Proof
    planted: Mapping[str, int]
    found: Mapping[str, int]
    seconds: dict[str, float]

    @property
    def is_found(self) -> bool:
        """Whether every fault planted was found, and nothing else."""
        return self.planted == self.found


class Collection:
    """One run and its custodian, day by day. `planner` proposes, `approver` approves."""

    def __init__(
        self,
        engine: AsyncEngine,
        found: Addresses,
        settings: Settings,
        run: Run,
        rules: PlanRules,
        *,
        planner: str,
        approver: str,
    ) -> None:
        self._engine, self._found, self._run, self._rules = engine, found, run, rules
        self._planner, self._approver = planner, approver
        self._desk = Desk.of(settings, {**os.environ, **ENVIRONMENT})
        self._zone = ZoneInfo(load(CUSTODIAN).time_zone)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._refused_files = 0
        self._opening_minor = 0

    async def play(self) -> Books:
        """Ask, look at each day that matters, pay out, and close. Raises NotClosed."""
        async with self._engine.begin() as connection:
            await register(connection, load(CUSTODIAN), actor=self._planner)
            self._custodian = await assign(connection, CUSTODIAN, self._run.plan_id, actor=self._planner)
            books = {line.account: line for line in await trial_balance(connection, self._run.plan_id)}
            if Account.CUSTODIAN_CASH in books:  # paid in before, as first deposits are
                self._opening_minor = books[Account.CUSTODIAN_CASH].debit
        with self._phase("instruct"):
            asked = await self._ask()
        on = self._run.debit_on
        for on in self._days(asked):
            await self._day(on)
        for _ in range(LONGER):
            if not await self._is_open():
                break
            on += timedelta(days=LOOKED_AT[0])
            await self._day(on)
        with self._phase("close"):
            return await self._close(on)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        began = monotonic()
        yield
        self._seconds[name] += monotonic() - began

    async def _is_open(self) -> bool:
        """Whether something is still under way, so that the run cannot be closed."""
        async with self._engine.connect() as connection:
            return bool(await missing_to_close(connection, await load_run(connection, self._run.run_id)))

    async def _ask(self) -> int:
        on = self._run.debit_on
        async with self._engine.begin() as connection:
            asking = await instruct(
                connection, self._run.run_id, self._desk, on=on, now=self._morning(on), actor=self._planner
            )
        await self._send(on)
        await self._let_sponsor_pay(on)
        return asking.instructions

    async def _let_sponsor_pay(self, on: date) -> None:
        """The sponsor pays in what members do not bear of the run, by the reference it was given."""
        async with self._engine.connect() as connection:
            sponsor = await sponsor_of(connection, self._run.plan_id)
        if sponsor.owed_minor > 0:
            line = f"{sponsor.reference},{to_major(sponsor.owed_minor)},{on}"
            self._paid_in.write_text(f"reference,amount,day\n{line}\n", "utf-8")

    @property
    def _settles_on(self) -> date:
        """From then on the run may be settled for good."""
        if self._rules.unpaid is None:
            return self._run.debit_on
        return leaving_day(self._rules, self._run.debit_on)

    def _days(self, asked: int) -> list[date]:
        """The days to look at. Without debits there is only what is paid out."""
        prepaid = self._rules.prepaid
        if not asked and (prepaid is None or prepaid.auto_top_up is None):
            return [self._run.debit_on]
        days = {self._run.debit_on + timedelta(days=offset) for offset in (*LOOKED_AT, LATE_DAYS)} | {self._settles_on}
        return [*sorted(days), max(days) + timedelta(days=LATE_DAYS)]

    async def _day(self, on: date) -> None:
        with self._phase("custodian"):
            await self._custodian_plays(on)
        with self._phase("statements"):
            files = await take_new(self._engine, self._custodian, self._desk, on=on, actor=self._planner)
            self._refused_files += sum(bool(file.refused) for file in files)
        with self._phase("reconcile"):
            await self._collect(on)
            if await self._decide(on):
                await self._collect(on)
            await self._send(on)
        with self._phase("close"):
            await self._pay(on)

    async def _custodian_plays(self, until: date) -> None:
        """The simulated custodian's days up to this one, in its own process. Raises NotClosed when it fails."""
        folders = {"--in": "out", "--out": "in"}
        command = [sys.executable, "-m", "engine.cli.main", "simulate", "custodian"]
        command += ["--profile", CUSTODIAN, "--seed", "1"]
        for option, name in folders.items():
            command += [option, str(self._desk.folder(CUSTODIAN, name))]
        command += ["--opening", to_major(self._opening_minor)]
        if self._paid_in.exists():
            command += ["--top-ups", str(self._paid_in)]
        process = await asyncio.create_subprocess_exec(
            *(*command, "--until", until.isoformat(), "--truth", str(self._truth)),
            env=child_environment(self._found) | ENVIRONMENT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait():
            raise NotClosed("the simulated custodian failed; what it says stands above")

    async def _collect(self, on: date) -> None:
        now = self._morning(on)
        await collect_day(self._engine, self._custodian, self._desk, on=on, now=now, actor=self._planner)

    async def _decide(self, on: date) -> int:
        """One proposes what is to be done about the breaks of each code, the other approves; how many breaks it was."""
        async with self._engine.connect() as connection:
            waiting = await count_breaks(connection, Selection(custodian=CUSTODIAN), [self._custodian], on=on)
        decided = 0
        for code in {each.code for each in waiting if each.state is State.OPEN} & set(DECISIONS):
            action, reason = DECISIONS[code]
            async with self._engine.begin() as connection:
                decision = await propose_resolution(
                    connection, Selection(code=code), action, reason=reason, on=on, actor=self._planner
                )
                await self._approve(connection, decision, on)
            decided += int(decision.detail["number"])
        return decided

    async def _approve(self, connection: AsyncConnection, decision: Decision, on: date) -> None:
        desk, now = self._desk, self._morning(on)
        await carry_out(connection, decision.decision_id, actor=self._approver, desk=desk, now=now)

    async def _pay(self, on: date) -> None:
        """Pay the claimants, and give back what is owed to members; what came back is paid again."""
        async with self._engine.begin() as connection:
            run = await load_run(connection, self._run.run_id)
            if run.kind != "share" or run.state is not RunState.SETTLED:
                return
            if await aid_owed(connection, self._run):
                payouts = await propose_payouts(connection, self._run.run_id, on=on, actor=self._planner)
                await self._approve(connection, payouts, on)
            shards = await shards_of(connection, self._run.plan_id)
            if any([bool((await refunds_owed(connection, shard)).any()) for shard in shards]):
                refunds = await propose_refunds(connection, self._run.plan_id, on=on, actor=self._planner)
                await self._approve(connection, refunds, on)
        await self._send(on)

    async def _send(self, on: date) -> None:
        await send_all(self._engine, self._custodian, self._desk, now=self._morning(on))

    def _morning(self, on: date) -> datetime:
        return datetime.combine(on, time(9), self._zone)

    @property
    def _paid_in(self) -> Path:
        return self._desk.files / CUSTODIAN / "paid-in.csv"

    @property
    def _truth(self) -> Path:
        return self._desk.files / CUSTODIAN / "planted.csv"

    async def _close(self, on: date) -> Books:
        """Close the run, and prove what it came to. Raises NotClosed with what is missing."""
        try:
            async with self._engine.begin() as connection:
                await close_run(connection, self._run.run_id, on=on, actor=self._approver)
        except InvalidInput as error:
            raise NotClosed(str(error)) from None
        async with self._engine.connect() as connection:
            run = await load_run(connection, self._run.run_id)
            reconciliation = (await reconciled(connection, self._custodian)).as_json()
            funnel = await funnel_of(connection, run.run_id)
            proof = await proof_of(connection, self._custodian, on)
            found = await self._found_faults(connection, reconciliation["breaks"])
        return Books(run, funnel, reconciliation, proof, self._planted(), found, self._seconds)

    def _planted(self) -> dict[str, int]:
        """How often the custodian did what wrong, by the words of FAULTS; it tells only now."""
        if not self._truth.exists():
            return {}
        counted = Counter(pyarrow.csv.read_csv(self._truth).column("fault").to_pylist())
        planted = {words: sum(counted[fault] for fault in faults) for words, (faults, _) in FAULTS.items()}
        return planted | {ELSE: 0}

    async def _found_faults(self, connection: AsyncConnection, breaks: Mapping[str, int]) -> dict[str, int]:
        """How often each was found, by the words of FAULTS."""
        returned = await connection.scalar(_RETURNED)
        parked = await connection.scalar(select(func.count()).where(statements.c.state == "parked"))
        found = {words: breaks.get(code or "", 0) for words, (_, code) in FAULTS.items()}
        found[ELSE] = sum(count for code, count in breaks.items() if code not in _TOLD)
        return found | {RETURNED: int(returned or 0), CUT_OFF: int(parked or 0) + self._refused_files}


_RETURNED = select(func.coalesce(func.sum(func.cardinality(instruction_events.c.positions)), 0)).where(
    instruction_events.c.state.in_([int(Standing.RETURNED), int(Standing.REOPENED)]),
    instruction_events.c.source.startswith("statement:"),
)


def clear(settings: Settings) -> None:
    """Forget the custodian of an earlier demo: its files in and out."""
    shutil.rmtree(settings.data_dir / "custodian" / CUSTODIAN, ignore_errors=True)


def print_books(console: Console, books: Books) -> None:
    """The funnel, the faults planted and found, and the proof strip of the last day."""
    funnel = Table("debits", "seats", "amount", title=f"Where the shares of run {books.run.run_id} are")
    for name in PARTS:
        part = getattr(books.funnel, name)
        if part.count or name == "assessed":
            funnel.add_row(name.replace("_", " "), f"{part.count:,}", grouped(part.amount_minor))
    faults = Table("what the custodian did", "planted", "found", title="Faults")
    for words in books.planted:
        faults.add_row(words, f"{books.planted[words]:,}", f"{books.found[words]:,}")
    proof = books.proof
    strip = Table(title=f"The account {proof.account} at the end of {proof.on}", show_header=False)
    strip.add_column()
    strip.add_column()
    for name in ("opening", "credits", "debits", "closing", "book", "by_hand", "difference"):
        strip.add_row(_STRIP.get(name, name), grouped(getattr(proof, name)))
        if name == "book":
            strip.add_row("… of it on suspense", grouped(proof.suspense))
    for table in (funnel, *([faults] if books.planted else []), strip):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)
    if books.planted:
        whole = "every fault planted was found, and nothing else" if books.is_found else "NOT every fault was found"
        console.print(whole, highlight=False)
    console.print(f"run {books.run.run_id} is {books.run.state}", highlight=False)


_STRIP = {"credits": "+", "debits": "-", "book": "in the books", "by_hand": "of it entered by hand"}
