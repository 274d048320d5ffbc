"""What a demo plays: the plan, the days, the roster and the claims. Pure but for reading the roster it made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow.parquet
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.decisions import file, pass_due, publish
from engine.errors import InvalidInput
from engine.money import floor, to_minor
from engine.plans import Accident
from engine.plans.aid_rules import AidBand
from engine.plans.answers import completed_years
from engine.plans.calendar import Slot, notice_end, slots
from engine.plans.member_rules import Direction
from engine.plans.rules import PlanRules, Trigger
from engine.roster.columns import membership_on
from engine.roster.plan import Plan
from engine.runs.credit import plan_credit_run
from engine.runs.planning import plan_run
from engine.runs.run import Run

FILED_BEFORE_DAYS = 1
_PERIOD_DAYS_MAX = 62
"""Any day of the month comes within two months."""
JOINED_BEFORE_DAYS = 6
"""How long before the latest possible day the first members joined, so that some have waited long enough to claim."""

_NOTICE_DAYS = 4
"""An event plan's run bundles what was published on so many days."""
_ENTRY_PERCENTS = (36, 17, 13, 20, 18, 11, 11, 9)
"""What a prepaid plan's cases ask per member, of what a member begins with.

The first is more than a cap of a third of it, and the fifth more than is then left: with roster.synth's deposits a cap
binds, balances end, and those who paid in more go on.
"""

_COMPULSORY_MINOR, _THIRD_PARTY_MINOR = 110_000_00, 50_000_00
_FAULT_SHARES = (Fraction(1), Fraction(4, 5), Fraction(1, 2))

_QUARTERS = 4
_CLAIMS_PERCENT, _COSTS_PERCENT = 70, 20
"""Of a quarter's premiums."""


@dataclass(frozen=True)
class Asked:
    """A claim of a story: `aid_minor` in minor units, None for the plan's whole aid."""

    notice_on: date
    aid_minor: int | None = None
    severity: str | None = None
    accident: Accident | None = None

    @property
    def diagnosed_on(self) -> date:
        """It is diagnosed and filed just before its notice."""
        return self.notice_on - timedelta(days=FILED_BEFORE_DAYS)


@dataclass(frozen=True)
class Quarter:
    """What a credit plan's surplus comes from, in minor units."""

    premiums_minor: int
    claims_minor: int
    costs_minor: int


@dataclass(frozen=True)
class Story:
    """A plan's run from its roster to its seal. `notice_on`: the last of its notices; `quarter`: of a credit plan."""

    plan: str
    members: int
    seed: int
    notice_on: date
    debit_on: date
    joined_from: date
    asked: tuple[Asked, ...] = ()
    quarter: Quarter | None = None


def demo_story(rules: PlanRules, members: int, seed: int) -> Story:
    """A run a year into the plan's life, or near the end of a shorter one.

    Two whole aids and one of 50,000; of a prepaid plan as many as ask for more than most have paid in; of a credit plan
    a quarter's surplus.
    """
    a_year_in = rules.starts_on + timedelta(days=365)
    count = _NOTICE_DAYS if rules.share.trigger is Trigger.EVENT else 1
    found = list(slots(rules, a_year_in, a_year_in + timedelta(days=_PERIOD_DAYS_MAX)))[:count]
    found = found or list(slots(rules, rules.starts_on, a_year_in))[-count:]
    if not found:
        raise InvalidInput(f"{rules.code} ends before its first notice; there is nothing to play")
    if rules.direction is Direction.CREDIT:
        return _story(rules, members, seed, found, (), _quarter(rules, members))
    asked = _three(rules, found[0]) if rules.prepaid is None else _of_balances(rules, members, found)
    return _story(rules, members, seed, found, tuple(asked))


def replay_story(rules: PlanRules, members: int, seed: int) -> Story:
    """The run that 相互宝 published on 21 January 2019: 2 cases of 300,000 yuan (SCHEMES §3)."""
    published_on = date(2019, 1, 21)
    slot = next(slots(rules, published_on, published_on), None)
    if slot is None:
        raise InvalidInput(f"{rules.code} began no notice on {published_on}; the replay is one of xianghubao")
    return _story(rules, members, seed, [slot], (Asked(published_on, to_minor("300000")),) * 2)


def _story(
    rules: PlanRules,
    members: int,
    seed: int,
    periods: list[Slot],
    asked: tuple[Asked, ...],
    quarter: Quarter | None = None,
) -> Story:
    waited = timedelta(days=FILED_BEFORE_DAYS + JOINED_BEFORE_DAYS + rules.claims.waiting_days)
    return Story(
        plan=rules.code,
        members=members,
        seed=seed,
        notice_on=periods[-1].notice_on,
        debit_on=periods[-1].debit_on,
        joined_from=min(rules.starts_on, periods[0].notice_on - waited),
        asked=asked,
        quarter=quarter,
    )


def _three(rules: PlanRules, slot: Slot) -> Iterator[Asked]:
    """Two whole aids and one of 50,000, the severest first."""
    for severity, aid_minor in zip(cycle(_severities(rules)), (None, None, to_minor("50000")), strict=False):
        yield _asked(rules, slot.notice_on, severity, aid_minor, Fraction(1))


def _of_balances(rules: PlanRules, members: int, periods: list[Slot]) -> Iterator[Asked]:
    """_ENTRY_PERCENTS, each as one case or, in a plan of many members, as several of the whole aid."""
    assert rules.prepaid is not None
    severities, faults = cycle(_severities(rules)), cycle(_FAULT_SHARES)
    for number, percent in enumerate(_ENTRY_PERCENTS):
        notice_on = periods[number * len(periods) // len(_ENTRY_PERCENTS)].notice_on
        asked, severity = members * rules.prepaid.entry * percent // 100, next(severities)
        cases = max(1, asked // _whole(rules, severity))
        whole_yuan = max(1, asked // cases // 100) * 100
        for _ in range(cases):
            yield _asked(rules, notice_on, severity, whole_yuan, next(faults))


def _asked(rules: PlanRules, notice_on: date, severity: str | None, aid_minor: int | None, fault: Fraction) -> Asked:
    """A claim for so much, or for what the plan gives at most."""
    whole = _whole(rules, severity)
    if rules.fault_share is None:
        return Asked(notice_on, None if aid_minor is None else min(aid_minor, whole), severity)
    award = (whole if aid_minor is None else aid_minor) + _COMPULSORY_MINOR + _THIRD_PARTY_MINOR
    return Asked(notice_on, accident=Accident(floor(award / fault), fault, _COMPULSORY_MINOR, _THIRD_PARTY_MINOR))


def _whole(rules: PlanRules, severity: str | None) -> int:
    """The most that one claim is given, in minor units, whatever cover was chosen."""
    band = _best(rules, severity)
    if band is None:
        return rules.fault_share.at_most if rules.fault_share else 0
    if band.of_cover is None:
        return band.amount or 0
    return floor(band.of_cover * min(tier.cover or 0 for tier in rules.tiers))


def _best(rules: PlanRules, severity: str | None) -> AidBand | None:
    """The highest aid for a severity; None in plans whose aid goes by no age."""
    bands = [band for band in rules.aid if band.severity == severity]
    return max(bands, key=lambda band: (band.amount or 0, band.of_cover or 0), default=None)


def _severities(rules: PlanRules) -> list[str | None]:
    """The plan's severities, the one with the highest aid first; [None] where it knows none."""
    known = dict.fromkeys(band.severity for band in rules.aid)
    return sorted(known, key=lambda severity: -_whole(rules, severity)) or [None]


def _quarter(rules: PlanRules, members: int) -> Quarter:
    """A year's premiums in quarters, most of which claims and costs use up."""
    premiums = members * max(tier.premium or to_minor("100") for tier in rules.tiers) // _QUARTERS
    return Quarter(premiums, premiums * _CLAIMS_PERCENT // 100, premiums * _COSTS_PERCENT // 100)


def claimants(roster: Path, story: Story, rules: PlanRules) -> list[str]:
    """A member of the roster for each claim of the story, in its order, who may ask for so much; at least one."""
    wanted = story.asked or (Asked(story.notice_on),)
    found: list[str] = []
    columns = ["member_ref", "born_on", "joined_on", "ended_on"]
    for batch in pyarrow.parquet.ParquetFile(roster).iter_batches(columns=columns):
        for member in batch.to_pylist():
            if _may_ask(member, wanted[len(found)], story, rules):
                found.append(member["member_ref"])
            if len(found) == len(wanted):
                return found
    raise InvalidInput(f"fewer than {len(wanted)} of {story.members} members may claim; give the demo more members")


def _may_ask(member: dict[str, Any], asked: Asked, story: Story, rules: PlanRules) -> bool:
    band, diagnosed_on = _best(rules, asked.severity), asked.diagnosed_on
    ages = rules.claims.minimum_age_years, rules.claims.maximum_age_years
    first, last = ages if band is None else (band.from_age, band.to_age)
    stays = member["ended_on"] is None or member["ended_on"] > story.debit_on
    waited = member["joined_on"] + timedelta(days=rules.claims.waiting_days) <= diagnosed_on
    old_enough = (diagnosed_on - member["born_on"]).days >= rules.claims.minimum_age_days
    return stays and waited and old_enough and first <= completed_years(member["born_on"], diagnosed_on) <= last


async def bring_claims(connection: AsyncConnection, plan: Plan, rules: PlanRules, story: Story, refs: list[str]) -> int:
    """File and publish the story's claims and let their notice pass; how many passed."""
    for member_ref, asked in zip(refs, story.asked, strict=False):
        on = asked.diagnosed_on
        cover = await membership_on(connection, plan.plan_id, member_ref, on)
        if cover is None:
            raise InvalidInput(f"a claimant of the demo is not covered on {on}")
        claim = await file(
            connection, plan.plan_id, rules, cover, diagnosed_on=on, on=on, actor="demo intake",
            aid_minor=asked.aid_minor, severity=asked.severity, accident=asked.accident,
        )  # fmt: skip
        await publish(connection, claim.claim_id, rules, on=asked.notice_on, actor="demo intake")
    ends_on = notice_end(rules, story.notice_on)
    return len(await pass_due(connection, plan.plan_id, on=ends_on, actor="demo clock"))


async def plan_story_run(connection: AsyncConnection, plan: Plan, story: Story, *, actor: str) -> Run:
    """The run of the story's claims, or of its quarter's surplus."""
    if story.quarter is None:
        return await plan_run(connection, plan, story.debit_on, actor=actor)
    quarter = story.quarter
    return await plan_credit_run(
        connection, plan, story.debit_on, premiums_minor=quarter.premiums_minor, claims_minor=quarter.claims_minor,
        costs_minor=quarter.costs_minor, actor=actor,
    )  # fmt: skip
