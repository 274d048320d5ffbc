"""What happened in the office from the end of June to 12 August 2019, day by day, by those whose work it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from engine.custodian.profile import load
from engine.custodian.registered import assign, register
from engine.members.deposits import open_deposits
from engine.plans import NEVER, PlanRules, day_number
from engine.plans.calendar import notice_end
from engine.roster.columns import Columns
from engine.runs.conductor import WorkRules, work
from engine.runs.states import RunState
from engine.simulator.custodian import Custodian
from engine.simulator.faults import Rates
from tests.integration.prepaid import known
from tests.integration.worlds import World, build, rules_of_preset
from tests.screenshots.office import Office
from tests.screenshots.resolving import WORKED_ON, resolve_older

FIRST, TODAY = date(2019, 6, 20), date(2019, 8, 12)
OPENED = date(2019, 5, 20)

MUTUAL, BALANCES, TIERS, STAGES = "xianghubao", "waterdrop", "jd-hubao", "meituan"

BANK, WALLET = "east-bank", "harbour-pay"
RATES = (
    "insufficient_funds=0.012,closed_account=0.002,duplicate=0.0004,late_return=0.0008,return_with_charges=0.0006,"
    "amount_mismatch=0.0004,not_ours=0.0004,missing_line=0.0004,truncated_file=0.05"
)

CLAIMS: Mapping[str, Mapping[date, tuple[int, ...]]] = {
    MUTUAL: {
        date(2019, 6, 21): (100_000, 100_000),
        date(2019, 7, 7): (300_000, 100_000, 50_000),
        date(2019, 7, 21): (100_000, 80_000, 100_000),
        date(2019, 8, 7): (300_000, 100_000, 60_000, 100_000),
    },
    STAGES: {
        date(2019, 7, 6): (300_000,),
        date(2019, 7, 15): (100_000, 300_000),
        date(2019, 7, 24): (300_000,),
        date(2019, 8, 6): (100_000, 100_000),
    },
    TIERS: {
        date(2019, 7, 7): (30_000,),
        date(2019, 7, 22): (40_000, 15_000),
        date(2019, 8, 7): (30_000, 50_000),
    },
    BALANCES: {
        date(2019, 7, 3): (18_000,),
        date(2019, 7, 10): (24_000, 15_000),
        date(2019, 7, 18): (20_000,),
        date(2019, 7, 24): (12_000, 16_000),
        date(2019, 7, 31): (22_000,),
        date(2019, 8, 4): (26_000, 14_000),
        date(2019, 8, 6): (30_000,),
        date(2019, 8, 9): (12_000,),
        date(2019, 8, 12): (45_000, 20_000),
    },
}
"""By plan and notice day, the aid asked for, in yuan."""

RUNS: Mapping[date, tuple[str, date]] = {
    date(2019, 6, 26): (MUTUAL, date(2019, 6, 28)),
    date(2019, 7, 9): (STAGES, date(2019, 7, 9)),
    date(2019, 7, 10): (TIERS, date(2019, 7, 10)),
    date(2019, 7, 11): (BALANCES, date(2019, 7, 11)),
    date(2019, 7, 12): (MUTUAL, date(2019, 7, 14)),
    date(2019, 7, 18): (STAGES, date(2019, 7, 18)),
    date(2019, 7, 19): (BALANCES, date(2019, 7, 19)),
    date(2019, 7, 25): (TIERS, date(2019, 7, 25)),
    date(2019, 7, 26): (MUTUAL, date(2019, 7, 28)),
    date(2019, 7, 27): (STAGES, date(2019, 7, 27)),
    date(2019, 8, 2): (BALANCES, date(2019, 8, 2)),
    date(2019, 8, 7): (BALANCES, date(2019, 8, 7)),
    date(2019, 8, 9): (STAGES, date(2019, 8, 9)),
}
"""The day a run is planned, approved and sealed, and the day it debits."""

PROGRAMS: tuple[tuple[str, int, list[str]], ...] = (
    ("platform", 365, ["claims:read", "runs:read"]),
    ("audit.2019-q2", 45, []),
    ("dashboard.old", 365, ["queues:read", "workers:read"]),
)
"""Tokens that are nobody's: for how many days, for what. The last one is revoked at once."""

HOOKS = {
    "https://platform.example.org/fentan/share-links": ["run.sealed", "run.settled", "run.closed", "share.requested"],
    "https://alerts.example.org/finance": ["break.opened", "run.settled"],
}
PLANS_AT = {MUTUAL: "09:40", TIERS: "09:40", STAGES: "09:40"}
FILED: Mapping[date, tuple[tuple[str, int], ...]] = {
    date(2019, 8, 8): ((MUTUAL, 50_000),),
    date(2019, 8, 9): ((MUTUAL, 300_000),),
    date(2019, 8, 10): ((TIERS, 20_000),),
    date(2019, 8, 11): ((MUTUAL, 100_000),),
}
"""Claims that wait for a notice day."""

WITHDRAWN_ON, WITHDRAWN_FOR = date(2019, 8, 11), "the hospital corrected the diagnosis; the member asks for nothing"
"""The first of them."""

TWICE, DROPPED_FOR = (MUTUAL, date(2019, 7, 28)), "claim 15 was rejected only this morning; look at the list once more"
"""A run that was planned, and planned again."""

LOST_ON = date(2019, 8, 11)
"""The bank's statement of the day before did not come that morning; what came later waits for it."""

PAID_UNTIL = date(2019, 8, 1)

OBJECTIONS = (
    (MUTUAL, date(2019, 7, 21), 1, 1, "treated for the same illness in 2018, before joining"),
    (BALANCES, date(2019, 8, 6), 2, 0, "the diagnosis is of an illness that the plan does not share"),
    (MUTUAL, date(2019, 8, 7), 1, 2, "the hospital's seal on the report does not look right"),
)
"""By plan, notice day and days into the notice: of which claim of the day, and what is said."""

ANSWERS = (
    (MUTUAL, date(2019, 7, 21), 2, 1, "the hospital's file shows treatment since March 2018", False),
    (BALANCES, date(2019, 8, 6), 3, 0, "the second report names it; it is on the plan's list", True),
)
"""Likewise, what is answered, and whether the claim stands. The last objection waits."""


EARLY = 0.93
"""So many of a plan's members joined in its first months."""


def joined(seats: int, seed: int, rules: PlanRules) -> Columns:
    """Seats in the order they joined: most in the first months of the plan's year, some since; a few have left."""
    random = np.random.default_rng(seed)
    begins = max(day_number(date(2019, 1, 1)), day_number(rules.starts_on) - 120)
    early = begins + np.sort(random.integers(0, 40, seats))
    late = day_number(date(2019, 6, 10)) + np.sort(random.integers(0, 62, seats))
    is_late = np.arange(seats) > seats * EARLY
    shares_from = np.where(is_late, late, early).astype(np.int32)
    leaves = (random.random(seats) < 0.02) & (np.arange(seats) > 100)
    ended_on = np.where(leaves, day_number(date(2019, 7, 1)) + random.integers(0, 50, seats), NEVER).astype(np.int32)
    ended_on = np.where(ended_on <= shares_from, NEVER, ended_on).astype(np.int32)
    weights = np.array([1, 2, 4, 3, 3, 4, 5, 4, 3, 2, 1, 1, 1][: len(rules.tiers)], float)
    tier = random.choice(len(weights), seats, p=weights / weights.sum()).astype(np.int16)
    return Columns(shares_from, shares_from, ended_on, tier)


@dataclass
class Account:
    """The office's account at a custodian, which is played, and how it is played."""

    code: str
    player: Custodian

    def play(self, office: Office, until: date) -> None:
        """What the custodian does through a day; its statements lie ready then."""
        desk = office.served.service.desk
        self.player.play(desk.folder(self.code, "out"), desk.folder(self.code, "in"), until=until)

    def lose(self, office: Office) -> None:
        """What the custodian has ready does not arrive."""
        for path in office.served.service.desk.folder(self.code, "in").glob("*.csv"):
            path.unlink()


@dataclass
class Month:
    """The plans and accounts of the office, and how far it is."""

    office: Office
    worlds: dict[str, World]
    accounts: list[Account]
    claims: dict[tuple[str, date], list[int]] = field(default_factory=dict)
    runs: dict[tuple[str, date], int] = field(default_factory=dict)
    filed: list[int] = field(default_factory=list)
    paid: set[int] = field(default_factory=set)
    claimants: int = 0

    async def lives(self, on: date) -> None:
        """One day, from the morning's statements to the evening's instructions."""
        office = self.office
        await office.clock.set(on, 7, 5)
        for account in self.accounts if self.runs else ():
            account.play(office, on - timedelta(days=1))
            if on == LOST_ON and account.code == BANK:
                account.lose(office)
            await office.ask("wang.fang", f"custodians/{account.code}/day", {"on": str(on)})
        await office.clock.set(on, 8, 30)
        for plan, world in self.worlds.items():
            if any(notice_end(world.rules, notice_on) == on for notice_on in CLAIMS[plan]):
                await office.ask("li.wei", f"plans/{plan}/claims/pass-due", {"on": str(on)})
        await office.clock.set(on, 9, 20)
        for plan, notices in CLAIMS.items():
            for yuan in notices.get(on, ()):
                claim_id = await self.files(plan, yuan, on)
                await office.ask("li.wei", f"claims/{claim_id}/publish", {"on": str(on)})
                self.claims.setdefault((plan, on), []).append(claim_id)
        await self.waits(on)
        if on in RUNS:
            await self.runs_on(*RUNS[on], on)
        await self.asks(on)
        await self.pays(on)
        await self.objects(on)
        if on in WORKED_ON:
            await resolve_older(office, on)

    async def files(self, plan: str, yuan: int, on: date) -> int:
        """A member of the plan files a claim; its number."""
        self.claimants += 1
        shard, seat = self.claimants % 4, 11 + self.claimants * 7
        said = {
            "plan": plan, "member": f"M{shard * 65_536 + seat}", "diagnosed_on": str(on - timedelta(days=9)),
            "on": str(on), "aid": f"{yuan}.00",
        }  # fmt: skip
        return int((await self.office.ask("li.wei", "claims", said))["claim_id"])

    async def waits(self, on: date) -> None:
        """What is filed for a later notice, and one that is withdrawn before it."""
        for plan, yuan in FILED.get(on, ()):
            self.filed.append(await self.files(plan, yuan, on))
        if on == WITHDRAWN_ON:
            said = {"on": str(on), "reason": WITHDRAWN_FOR}
            await self.office.ask("li.wei", f"claims/{self.filed[0]}/withdraw", said)

    async def runs_on(self, plan: str, debit_on: date, on: date) -> None:
        """A run is planned, looked at, approved and worked to its seal."""
        run_id = await self.planned(plan, debit_on, on)
        if (plan, debit_on) == TWICE:
            await self.office.decide("li.wei", f"runs/{run_id}/void", {"reason": DROPPED_FOR})
            run_id = await self.planned(plan, debit_on, on)
        await self.office.clock.set(on, 10, 15)
        await self.approved(run_id)
        run = await self.works(run_id)
        assert run.state is RunState.SEALED, run.failure
        self.runs[plan, debit_on] = run_id

    async def planned(self, plan: str, debit_on: date, on: date) -> int:
        office = self.office
        await office.clock.set(on, 9, 40)
        run_id = int((await office.ask("li.wei", "runs", {"plan": plan, "debit_on": str(debit_on)}))["run_id"])
        run = await self.works(run_id)
        assert run.state is RunState.PREVIEWED, run.failure
        return run_id

    async def approved(self, run_id: int) -> None:
        digest = (await self.office.see(f"runs/{run_id}"))["preview_digest"]
        await self.office.decide("zhao.min", f"runs/{run_id}/approve", {"digest": digest})

    async def works(self, run_id: int) -> Any:
        """A worker does whatever of a run is due."""
        rules = WorkRules(
            "worker-1", lease_seconds=60, slice_seconds=60, max_attempts=5, freeze_hours=24, shards_in_hand=2
        )
        await work(self.office.served.service.engine, run_id, rules, lambda _: None)
        return await next(iter(self.worlds.values())).run(run_id)

    async def pays(self, on: date) -> None:
        """The aid of a run is paid once the run has settled, and the run is closed when nothing of it is left."""
        for run_id in await self.settled() if on < PAID_UNTIL else ():
            if run_id not in self.paid:
                self.paid.add(run_id)
                await self.office.clock.set(on, 11)
                proposed = await self.office.ask("wang.fang", f"runs/{run_id}/payouts", {"on": str(on)})
                await self.office.clock.set(on, 13, 30)
                await self.office.ask("zhao.min", f"decisions/{proposed['decision_id']}/approve")
            else:
                await self.office.may("wang.fang", f"runs/{run_id}/close")

    async def settled(self) -> list[int]:
        """The runs whose debits are through."""
        found = await self.office.sql("SELECT run_id FROM share_runs WHERE state = 'settled' ORDER BY run_id")
        return list(found.scalars())

    async def objects(self, on: date) -> None:
        """Somebody doubts a claim under notice; li.wei answers, and one does not stand."""
        office = self.office
        for plan, notice_on, days, place, reason in OBJECTIONS:
            if on == notice_on + timedelta(days=days):
                await office.clock.set(on, 12, 10)
                claim_id = self.claims[plan, notice_on][place]
                await office.ask("li.wei", f"claims/{claim_id}/objections", {"on": str(on), "reason": reason})
        for plan, notice_on, days, place, answer, stands in ANSWERS:
            if on == notice_on + timedelta(days=days):
                await office.clock.set(on, 15, 40)
                path = f"claims/{self.claims[plan, notice_on][place]}"
                await office.ask("li.wei", f"{path}/objections/1/resolve", {"on": str(on), "resolution": answer})
                if not stands:
                    await office.ask("li.wei", f"{path}/reject", {"on": str(on), "reason": answer})

    async def asks(self, on: date) -> None:
        """What is debited tomorrow, or today, is asked of the custodian."""
        await self.office.clock.set(on, 14)
        for (plan, debit_on), run_id in self.runs.items():
            if plan != BALANCES and on == max(debit_on - timedelta(days=1), day_of_run(plan, debit_on)):
                await self.office.ask("li.wei", f"runs/{run_id}/instruct", {"on": str(on)})
                await self.office.ask("wang.fang", f"custodians/{BANK}/send", {"on": str(on)})


def day_of_run(plan: str, debit_on: date) -> date:
    """When the run of a debit day is planned."""
    return next(on for on, run in RUNS.items() if run == (plan, debit_on))


async def begin(office: Office) -> Month:
    """The plans with their members, and who holds their money."""
    engine = office.served.service.engine
    rules = {
        MUTUAL: rules_of_preset(MUTUAL, caps={"per_case": "5.00"}),
        TIERS: rules_of_preset(TIERS),
        STAGES: rules_of_preset(STAGES),
        BALANCES: rules_of_preset(BALANCES),
    }
    sizes = {MUTUAL: (16, 1_500), TIERS: (4, 1_600), STAGES: (4, 1_600), BALANCES: (12, 1_200)}
    worlds = {}
    for place, (plan, (shards, seats)) in enumerate(sizes.items()):
        random = np.random.default_rng(place)
        counts = (seats * random.uniform(0.55, 1.45, shards)).astype(int)
        seated = [joined(count, 100 * place + shard, rules[plan]) for shard, count in enumerate(counts.tolist())]
        worlds[plan] = await known(await build(engine, rules[plan], *seated))
    await deposit(worlds[BALANCES])
    await use_up(worlds[MUTUAL])
    for name, days, scopes in PROGRAMS:
        said = {"name": name, "role": "viewer", "days": days} | ({"scopes": scopes} if scopes else {})
        token = await office.ask("chen.ying", "tokens", said)
    await office.ask("chen.ying", f"tokens/{token['token_id']}/revoke")
    for url, events in HOOKS.items():
        await office.ask("chen.ying", "webhooks", {"url": url, "events": events})
    for plan, plans_at in PLANS_AT.items():
        await office.ask("li.wei", f"schedules/{plan}", {"plans_at": plans_at})
    accounts = [
        await held(office, BANK, "华东银行", [worlds[MUTUAL], worlds[TIERS], worlds[STAGES]], 7),
        await held(office, WALLET, "海港支付", [worlds[BALANCES]], 8),
    ]
    return Month(office, worlds, accounts)


async def deposit(world: World) -> None:
    """What the members of a prepaid plan begin with."""
    random = np.random.default_rng(5)
    async with world.engine.begin() as connection:
        for number, (_, seats) in enumerate(await world.shards(), 1):
            amounts = np.array([9_00, 10_00, 15_00, 20_00, 30_00, 50_00])[random.integers(0, 6, seats)]
            await open_deposits(connection, world.plan, world.shard(number), amounts, on=OPENED, key="opening")


async def use_up(world: World) -> None:
    """What the members of a plan with a cap per year shared from January to June, so that some come near it now."""
    random = np.random.default_rng(6)
    for number, (_, seats) in enumerate(await world.shards(), 1):
        shared = np.clip(random.normal(140_00, 15_00, seats), 0, 188_00).astype(int)
        is_late = np.arange(seats) > seats * EARLY
        await world.used(number, np.where(is_late, 0, shared).tolist())


async def held(office: Office, code: str, name: str, worlds: list[World], seed: int) -> Account:
    """An account that holds these plans' money. The custodian takes and gives what the preset generic-csv lays out."""
    preset = load("generic-csv")
    profile = preset.model_copy(update={"code": code, "name": name, "payer_known_by": "member_ref"})
    async with office.served.service.engine.begin() as connection:
        await register(connection, profile, actor="wang.fang")
        for world in worlds:
            await assign(connection, code, world.plan_id, actor="wang.fang")
    return Account(code, Custodian(profile, seed=seed, rates=Rates.read(RATES), account="6222020019070812"))


async def live(office: Office) -> Month:
    """All of it."""
    month = await begin(office)
    on = FIRST
    while on <= TODAY:
        await month.lives(on)
        on += timedelta(days=1)
    return month
