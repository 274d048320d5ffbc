"""What a demo plays: the plan, the days, the roster and the claims. Pure but for reading the roster it made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.claims.decisions import file, pass_due, publish
from engine.errors import InvalidInput
from engine.money import to_minor
from engine.plans.answers import completed_years
from engine.plans.calendar import Slot, notice_end, slots
from engine.plans.rules import PlanRules
from engine.roster.columns import membership_on
from engine.roster.plan import Plan

FILED_BEFORE_DAYS = 1
_PERIOD_DAYS_MAX = 62
"""Any day of the month comes within two months."""
JOINED_BEFORE_DAYS = 6
"""How long before the latest possible day the first members joined, so that some have waited long enough to claim."""


@dataclass(frozen=True)
class Story:
    """A plan's run from its roster to its seal. `aids` in minor units; None is the plan's whole aid."""

    plan: str
    members: int
    seed: int
    notice_on: date
    debit_on: date
    joined_from: date
    aids: tuple[int | None, ...]

    @property
    def diagnosed_on(self) -> date:
        """The claims of the story are diagnosed and filed just before their notice."""
        return self.notice_on - timedelta(days=FILED_BEFORE_DAYS)


def demo_story(rules: PlanRules, members: int, seed: int) -> Story:
    """A run a year into the plan's life, or near the end of a shorter one: two whole aids and one of 50,000."""
    a_year_in = rules.starts_on + timedelta(days=365)
    period = timedelta(days=_PERIOD_DAYS_MAX)
    found = list(slots(rules, a_year_in, a_year_in + period))[:1] or list(slots(rules, rules.starts_on, a_year_in))[-1:]
    if not found:
        raise InvalidInput(f"{rules.code} ends before its first notice; there is nothing to play")
    return _story(rules, members, seed, found[0], (None, None, to_minor("50000")))


def replay_story(rules: PlanRules, members: int, seed: int) -> Story:
    """The run that 相互宝 published on 21 January 2019: 2 cases of 300,000 yuan (SCHEMES §3)."""
    published_on = date(2019, 1, 21)
    slot = next(slots(rules, published_on, published_on), None)
    if slot is None:
        raise InvalidInput(f"{rules.code} began no notice on {published_on}; the replay is one of xianghubao")
    return _story(rules, members, seed, slot, (to_minor("300000"), to_minor("300000")))


def _story(rules: PlanRules, members: int, seed: int, slot: Slot, aids: tuple[int | None, ...]) -> Story:
    waited = timedelta(days=FILED_BEFORE_DAYS + JOINED_BEFORE_DAYS + rules.claims.waiting_days)
    return Story(
        plan=rules.code,
        members=members,
        seed=seed,
        notice_on=slot.notice_on,
        debit_on=slot.debit_on,
        joined_from=min(rules.starts_on, slot.notice_on - waited),
        aids=aids,
    )


def claimants(roster: Path, story: Story, rules: PlanRules) -> list[str]:
    """The first members of the roster who may claim the plan's highest aid, one per aid of the story."""
    best = max(rules.aid, key=lambda band: band.amount or 0)
    latest = story.diagnosed_on - timedelta(days=rules.claims.waiting_days)
    found: list[str] = []
    columns = ["member_ref", "born_on", "joined_on", "ended_on"]
    for batch in pyarrow.parquet.ParquetFile(roster).iter_batches(columns=columns):
        for member in batch.to_pylist():
            stays = member["ended_on"] is None or member["ended_on"] > story.debit_on
            age = completed_years(member["born_on"], story.diagnosed_on)
            old_enough = (story.diagnosed_on - member["born_on"]).days >= rules.claims.minimum_age_days
            if member["joined_on"] <= latest and stays and old_enough and best.from_age <= age <= best.to_age:
                found.append(member["member_ref"])
            if len(found) == len(story.aids):
                return found
    raise InvalidInput(f"fewer than {len(story.aids)} of {story.members} members may claim; give the demo more members")


async def bring_claims(connection: AsyncConnection, plan: Plan, rules: PlanRules, story: Story, refs: list[str]) -> int:
    """File and publish the story's claims and let their notice pass; how many passed."""
    for member_ref, aid in zip(refs, story.aids, strict=True):
        cover = await membership_on(connection, plan.plan_id, member_ref, story.diagnosed_on)
        if cover is None:
            raise InvalidInput(f"a claimant of the demo is not covered on {story.diagnosed_on}")
        on = story.diagnosed_on
        claim = await file(
            connection, plan.plan_id, rules, cover, diagnosed_on=on, on=on, actor="demo intake", aid_minor=aid
        )
        await publish(connection, claim.claim_id, rules, on=story.notice_on, actor="demo intake")
    ends_on = notice_end(rules, story.notice_on)
    return len(await pass_due(connection, plan.plan_id, on=ends_on, actor="demo clock"))
