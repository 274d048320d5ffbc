"""Simulated lives of plans: years of people who come, go, pay and claim, with every run held against the oracle.

A life is seeded: the same seed lives the same life. It moves people through the same doors as the command line does,
and reads what happened from the ledger alone.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from sqlalchemy import text

from engine import claims
from engine.decisions import Decision, DecisionState
from engine.errors import FentanError
from engine.ledger.accounts import Account, share_account
from engine.ledger.books import books, difference_of
from engine.members.collection import collect, exit_unpaid
from engine.members.deposits import take_top_ups
from engine.members.returning import come_back, owed
from engine.plans import NEVER, day_number, terms
from engine.plans.answers import floor_minor, members_share, run_cap, weights, year_cap
from engine.plans.calendar import notice_end
from engine.plans.member_rules import Direction
from engine.plans.rules import TierBy, Trigger
from engine.roster.change_files import change_roster
from engine.roster.changes import current_columns
from engine.roster.columns import Columns, membership_on, read_columns
from engine.roster.plan import Plan, lock_roster
from engine.runs.credit import plan_credit_run
from engine.runs.decided import carry_out
from engine.runs.ending import propose_wind_down
from engine.runs.run import Run, inputs_of
from engine.runs.states import RunState
from tests.integration.prepaid import known
from tests.integration.worlds import APPROVER, PLANNER, World
from tests.unit.apportion import oracle

KEY = b"a key of sixteen"
BORN = date(1990, 5, 5)


def seated(count: int, since: date, tiers: int, random: Random) -> Columns:
    """Seats that share from a day on and claim at once, of any tier."""
    days = np.full(count, day_number(since), dtype=np.int32)
    tier = np.array([random.randrange(tiers) for _ in range(count)], dtype=np.int16)
    return Columns(days, days, np.full(count, NEVER, dtype=np.int32), tier)


@dataclass
class Life:
    """A plan under way. `seen` counts what happened, so that a test can ask that it did."""

    world: World
    random: Random
    folder: Path
    seen: Counter[str] = field(default_factory=Counter)
    files: int = 0
    newcomers: int = 0

    @property
    def plan(self) -> Plan:
        return self.world.plan

    def file(self, rows: Iterable[dict[str, object]]) -> Path:
        """A CSV file of these rows, each with a name of its own."""
        rows = list(rows)
        self.files += 1
        path = self.folder / f"{self.files}.csv"
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, names)
            writer.writeheader()
            writer.writerows(rows)
        return path

    async def spells(self, on: date) -> dict[str, tuple[bool, bool]]:
        """By reference of those ever seated by a day: whether the last spell is in force on it, and whether frozen."""
        day, found = day_number(on), dict[str, tuple[bool, bool]]()
        rows = await self.world.rows(
            "SELECT shard_id, seat % 65536, member_ref FROM members WHERE plan_id = :plan ORDER BY member_ref, spell",
            plan=self.world.plan_id,
        )
        columns = {}
        async with self.world.engine.connect() as connection:
            for shard_id, _ in await self.world.shards():
                _, _, columns[shard_id] = await current_columns(connection, shard_id)
        for shard_id, position, ref in rows:
            seats = columns[shard_id]
            if seats.shares_from[position] <= day:
                frozen = seats.filled("frozen_from")[position] <= day < seats.filled("frozen_to")[position]
                found[ref] = (bool(day < seats.ended_on[position]), bool(frozen))
        return found

    async def members(self, on: date) -> list[str]:
        """References of those in force on a day."""
        return [ref for ref, (in_force, _) in (await self.spells(on)).items() if in_force]

    async def frozen(self, on: date) -> list[str]:
        """References of those who are in force and frozen on a day."""
        return [ref for ref, (in_force, is_frozen) in (await self.spells(on)).items() if in_force and is_frozen]

    async def change(self, row: dict[str, object]) -> bool:
        """Bring a file of one change in; one that the rules refuse is left out and counted."""
        try:
            async with self.world.engine.begin() as connection:
                await change_roster(connection, self.plan, self.file([row]), tag_key=KEY)
        except FentanError:
            self.seen[f"{row['kind']} refused"] += 1
            return False
        self.seen[str(row["kind"])] += 1
        return True

    async def join(self, on: date, born_on: date, ref: str | None = None) -> None:
        """Somebody joins, or who left joins again, of any tier where the plan lets choose."""
        rules = self.world.rules
        if ref is None:
            self.newcomers += 1
            ref = f"N{self.newcomers}"
        row: dict[str, object] = {"kind": "join", "member_ref": ref, "from": on, "born_on": born_on}
        if rules.tier_by is TierBy.CHOICE and len(rules.tiers) > 1:
            row["tier"] = self.random.randrange(len(rules.tiers))
        if await self.change(row) and rules.prepaid is not None:
            await self.top_up({ref: self.random.randint(500, 1_500)}, on)

    async def top_up(self, amounts: dict[str, int], on: date) -> None:
        """Members pay in; amounts in minor units."""
        if not amounts:
            return
        rows: list[dict[str, object]] = [
            {"member_ref": ref, "amount": f"{minor // 100}.{minor % 100:02}", "paid_on": on}
            for ref, minor in amounts.items()
        ]
        async with self.world.engine.begin() as connection:
            await take_top_ups(connection, self.plan, self.file(rows), on=on, actor="cashier")
        self.seen["top-up"] += len(rows)

    async def claim(self, ref: str, notice_on: date, aid_minor: int | None = None, **told: Any) -> int | None:
        """A member claims the day before a notice that passes; None where the rules refuse.

        Diagnosed on that day, or the plan's last; `told`: what else the claim says, as `Application` has it.
        """
        on, rules = notice_on - timedelta(days=1), self.world.rules
        diagnosed_on = on if rules.ends_on is None else min(on, rules.ends_on)
        try:
            async with self.world.engine.begin() as connection:
                cover = await membership_on(connection, self.world.plan_id, ref, diagnosed_on)
                assert cover is not None
                claim = await claims.file(
                    connection, self.world.plan_id, rules, cover,
                    diagnosed_on=diagnosed_on, on=on, actor="intake", aid_minor=aid_minor, **told,
                )  # fmt: skip
                await claims.publish(connection, claim.claim_id, rules, on=notice_on, actor="intake")
                await claims.pass_due(connection, self.world.plan_id, on=notice_end(rules, notice_on), actor="clock")
        except FentanError:
            self.seen["claim refused"] += 1
            return None
        self.seen["claim"] += 1
        return claim.claim_id

    async def bill(self, notice_on: date) -> bool:
        """A bill comes for one of the claims that were paid a part; whether there was one."""
        rows = await self.world.rows(
            "SELECT claim_id, aid_minor - shared_minor FROM claims WHERE plan_id = :plan AND state = 'shared'"
            " AND shared_minor < aid_minor ORDER BY claim_id",
            plan=self.world.plan_id,
        )
        if not rows or self.random.random() < 0.5:
            return False
        claim_id, left = self.random.choice(rows)
        async with self.world.engine.begin() as connection:
            await claims.bill(
                connection, claim_id, self.world.rules, self.random.randint(1, left), on=notice_on, actor="intake"
            )
        self.seen["bill"] += 1
        return True

    async def come_back(self, ref: str, on: date) -> None:
        """A frozen member pays in what a return needs, and a little more."""
        async with self.world.engine.begin() as connection:
            cost = await owed(connection, self.plan, self.world.rules, ref, on=on)
            paid = cost.needed_minor + self.random.randrange(500)
            returned = await come_back(connection, self.plan, self.world.rules, ref, paid, on=on, actor="cashier")
        assert returned.balance_minor >= floor_minor(self.world.rules)
        self.seen["returned"] += 1

    async def credit(self, on: date, surplus_minor: int) -> Run:
        """A quarter's surplus is given back; what the tie-out and the books say of it holds."""
        async with self.world.engine.begin() as connection:
            planned = await plan_credit_run(
                connection, self.plan, on,
                premiums_minor=3 * surplus_minor, claims_minor=surplus_minor, costs_minor=surplus_minor, actor=PLANNER,
            )  # fmt: skip
        run = await self.world.worked(await self.world.approved(await self.world.worked(planned)))
        assert run.state is RunState.SEALED, run.failure
        await self.hold(run)
        return run

    async def run(self, debit_on: date) -> Run:
        """A whole run, held against everything there is to hold it against."""
        run = await self.world.sealed(debit_on)
        await self.hold(run)
        return run

    async def hold(self, run: Run) -> None:
        """Remember a sealed run, and hold it against the invariants and the oracle."""
        self.seen["run"] += 1
        assert run.preview is not None
        self.seen.update(f"cap {name}" for name, seats in run.preview["caps_hit"].items() if seats)
        await self.check(run)

    async def check(self, run: Run) -> None:
        """I1 to I7 of one sealed run, and of all that stands in the books."""
        await self.world.tied_out(run)
        journals = "SELECT count(*) FROM journals WHERE shard_id / 1000000 = :plan"
        before = await self.world.value(journals, plan=self.world.plan_id)
        await self.world.worked(run)
        assert await self.world.value(journals, plan=self.world.plan_id) == before, "I3: once sealed nothing is posted"
        assert await self.world.problems() == []
        await (self.check_credit(run) if self.world.rules.direction is Direction.CREDIT else self.check_oracle(run))

    async def check_oracle(self, run: Run) -> None:
        """I6, I7: what each seat was charged is what the oracle says of the pinned inputs, member by member."""
        async with self.world.engine.connect() as connection:
            inputs = await inputs_of(connection, run)
        rules, money = self.world.rules, terms(self.world.rules)
        over_cap = money.over_cap if members_share(rules, run.debit_on) else "sponsor"
        members, posted = await self.pinned(run)
        asked: dict[str, Any] = {
            "rules": {
                "weights": money.weights, "fee": str(money.fee), "rounding": money.rounding, "over_cap": over_cap,
                "fallback": money.fallback, "cap_basis": money.cap_basis, "cap_unit": money.cap_unit,
                "surplus_first": money.surplus_first,
            },
            "cases": [{"aid": case.aid, "gate": case.gate, "cap": case.cap} for case in inputs.cases],
            "members": members, "carry_in": run.carry_in, "seed_hex": inputs.seed.hex(),
            "pointer": {str(tier): seat for tier, seat in inputs.pointers.items()},
        }  # fmt: skip
        if rules.share.trigger is Trigger.EVENT:
            asked["floor"] = floor_minor(rules)
        answer = oracle.answer(asked)
        assert inputs.solution is not None
        assert answer["charges"] == posted
        solved = {name: getattr(inputs.solution, name) for name in ("sponsor", "carry_out", "aids", "fees")}
        assert {name: answer[name] for name in solved} == {
            name: list(value) if isinstance(value, tuple) else value for name, value in solved.items()
        }

    async def check_credit(self, run: Run) -> None:
        """Each covered seat is given its part of the surplus and of the carry, rounded down; the rest is carried on."""
        async with self.world.engine.connect() as connection:
            inputs = await inputs_of(connection, run)
        (case,) = inputs.cases
        members, posted = await self.pinned(run)
        weighed = [
            weights(self.world.rules)[seat["tier"]] if seat["shares_from"] <= case.gate < seat["ended_on"] else 0
            for seat in members
        ]
        pool = case.aid + (run.carry_in or 0)
        assert [-amount for amount in posted] == [pool * weight // sum(weighed) for weight in weighed]
        assert inputs.solution is not None
        assert inputs.solution.carry_out == pool + sum(posted)

    async def pinned(self, run: Run) -> tuple[list[dict[str, Any]], list[int]]:
        """Every seat as the run froze it, in the oracle's words, and what the run charged it or its sponsor."""
        members: list[dict[str, Any]] = []
        posted: list[int] = []
        frozen = await self.world.rows(
            "SELECT shard_id, roster_version, ledger_seq FROM run_shards WHERE run_id = :run ORDER BY shard_id",
            run=run.run_id,
        )
        for shard_id, version, seq in frozen:
            async with self.world.engine.connect() as connection:
                columns = await read_columns(connection, shard_id, version)
            of_seat: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for entry in await self.entries(shard_id):
                of_seat[entry["position"]].append(entry)
            for position in range(len(columns)):
                mine = of_seat[position]
                members.append(self.seat(columns, position, [e for e in mine if e["seq"] <= seq], run.debit_on))
                posted.append(sum(e["amount"] for e in mine if e["run_id"] == run.run_id and e["kind"] == "charge"))
        assert members
        return members, posted

    def seat(self, columns: Columns, position: int, entries: list[dict[str, Any]], debit_on: date) -> dict[str, Any]:
        """One seat at the freeze: its days, its tier on the debit day, and what it can be charged at most."""
        rules, account = self.world.rules, share_account(self.world.rules)
        tier = int(columns.tier[position])
        if columns.next_tier is not None and columns.next_tier_from is not None:
            since = int(columns.next_tier_from[position])
            tier = int(columns.next_tier[position]) if 0 < since <= day_number(debit_on) else tier
        own = [entry for entry in entries if entry["code"] == account]
        balance = -sum(entry["amount"] for entry in own)
        begins = self.year_of(int(columns.shares_from[position]), debit_on)
        used = sum(
            entry["amount"] for entry in own
            if entry["kind"] in ("charge", "void", "correction") and entry["effective_on"] >= begins
            and entry["effective_on"].year <= debit_on.year
        )  # fmt: skip
        yearly = year_cap(rules, begins.year, tier)
        room = [cap for cap in (run_cap(rules), None if yearly is None else max(yearly - used, 0)) if cap is not None]
        if rules.prepaid is not None:
            room.append(balance)
        return {
            "shares_from": int(columns.shares_from[position]),
            "ended_on": int(columns.ended_on[position]),
            "frozen_from": 0 if columns.frozen_from is None else int(columns.frozen_from[position]),
            "frozen_to": 0 if columns.frozen_to is None else int(columns.frozen_to[position]),
            "frozen": not members_share(rules, debit_on) or balance < floor_minor(rules),
            "tier": tier,
            "allowance": min(room, default=None),
        }

    def year_of(self, shares_from: int, debit_on: date) -> date:
        """The first day of the year that a yearly cap counts."""
        if self.world.rules.caps.year.value == "calendar":
            return date(debit_on.year, 1, 1)
        joined = date(1970, 1, 1) + timedelta(days=shares_from)

        def in_year(year: int) -> date:
            leap = (joined.month, joined.day) == (2, 29) and (year % 4 or (not year % 100 and year % 400))
            return date(year, 3, 1) if leap else joined.replace(year=year)

        return in_year(debit_on.year) if in_year(debit_on.year) <= debit_on else in_year(debit_on.year - 1)

    async def entries(self, shard_id: int) -> list[dict[str, Any]]:
        """Every entry of a shard's seats, from the public view."""
        async with self.world.engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT seq, kind, run_id, effective_on, account_id % 10000 AS code, seat % 65536 AS position,"
                    " amount FROM ledger_entries WHERE shard_id = :shard"
                ),
                {"shard": shard_id},
            )
            names = list(rows.keys())
            return [dict(zip(names, row, strict=True)) for row in rows]

    async def settle(self, run: Run, unpaid: float, on: date) -> None:
        """Who was charged pays, but for a few whose debit fails for good: they leave, what they owe is written off."""
        for shard_id, _ in await self.world.shards():
            charged = {
                entry["position"] for entry in await self.entries(shard_id)
                if entry["run_id"] == run.run_id and entry["kind"] == "charge" and entry["code"] == 1210
            }  # fmt: skip
            failed = {position for position in sorted(charged) if self.random.random() < unpaid}
            paid = np.array(sorted(charged - failed), dtype=np.int32)
            async with self.world.engine.begin() as connection:
                if len(paid):
                    await collect(connection, run.run_id, shard_id, paid, on=on)
                if failed:
                    await lock_roster(connection, self.world.plan_id)
                    await exit_unpaid(connection, run.run_id, shard_id, np.array(sorted(failed), dtype=np.int32))
            self.seen["paid"] += len(paid)
            self.seen["unpaid"] += len(failed)

    async def end(self, on: date) -> Decision:
        """The wind-down, by decision of two; afterwards the books explain every fen."""
        async with self.world.engine.begin() as connection:
            proposed = await propose_wind_down(connection, self.plan, self.world.rules, on=on, actor=PLANNER)
        async with self.world.engine.begin() as connection:
            ended = await carry_out(connection, proposed.decision_id, actor=APPROVER)
        assert ended.state is DecisionState.DONE
        assert await self.world.problems() == []
        await self.check_books()
        return ended

    async def check_books(self) -> None:
        """Every account that does not stand at zero is explained, and its parts by kind are its lines to the fen."""
        async with self.world.engine.connect() as connection:
            booked = await books(connection, self.world.plan_id, sponsor=self.world.rules.share.sponsor)
        assert difference_of(booked) == 0
        lines = await self.world.rows(
            "SELECT account_id % 10000, account_id / 10000 % 100, kind, sum(amount)::bigint FROM journal_lines"
            " WHERE account_id / 1000000 = :plan GROUP BY 1, 2, 3",
            plan=self.world.plan_id,
        )
        posted = {(code, unit, kind): amount for code, unit, kind, amount in lines if amount}
        explained = {
            (int(each.account), each.unit, kind): amount
            for each in booked for kind, amount in each.by_kind.items() if amount
        }  # fmt: skip
        assert explained == posted
        assert all(each.explanation for each in booked if sum(each.by_kind.values()))
        closing = {each.account: sum(each.by_kind.values()) for each in booked if each.unit == 0}
        for cleared in (Account.RUN_CLEARING, Account.SUSPENSE):
            assert closing.get(cleared, 0) == 0


async def begin(world: World, random: Random, folder: Path) -> Life:
    """A life of a built world, whose seats become known by their references."""
    return Life(await known(world), random, folder)
