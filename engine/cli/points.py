"""What a sealed run shows of its kind of plan: payers, balances, cut aid, stages, a surplus. For eyes and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import OverCap
from engine.claims import history
from engine.ledger.accounts import Account
from engine.ledger.trial_balance import TrialLine
from engine.members.sweep import Swept, sweep
from engine.money import grouped, to_major, to_minor
from engine.plans.member_rules import Benefit
from engine.plans.phrases import amount, listed, percent, unit
from engine.plans.rules import PlanRules
from engine.roster.plan import lock_roster
from engine.runs.instructions import totals_of as debits_of
from engine.runs.run import Run
from engine.store.tables import claims, run_cases

Points = dict[str, Any]
"""By name, what only some plans have; money as text in major units, counts as numbers."""


async def day_after(connection: AsyncConnection, run: Run, rules: PlanRules) -> Swept:
    """Freeze and refund the members of a prepaid plan whom the run's draws leave to be; of others nobody."""
    if rules.prepaid is None:
        return Swept()
    await lock_roster(connection, run.plan_id)
    return await sweep(connection, run.plan_id, rules, on=run.debit_on + timedelta(days=1))


async def points_of(
    connection: AsyncConnection, run: Run, rules: PlanRules, lines: Sequence[TrialLine], swept: Swept
) -> Points:
    """What this run shows; `lines` is the trial balance, `swept` what became of members the day after."""
    points: Points = {}
    shown = run.preview or {}
    if "surplus" in shown:
        given = {group["tier"]: group["charge"] for group in shown["classes"]}
        return {"surplus": {**shown["surplus"], "shared": shown["charged"], "given": given}}
    if "rounds" in shown:
        points["rounds"] = shown["rounds"]
    if OverCap.REDUCE_AID in (rules.share.over_cap, rules.share.fallback):
        asked = select(func.coalesce(func.sum(run_cases.c.aid_minor), 0)).where(run_cases.c.run_id == run.run_id)
        points["aid_asked"] = to_major(int(await connection.scalar(asked) or 0))
    if rules.fault_share is not None:
        points["aid_steps"] = await _aid_steps(connection, run)
    if rules.aid_stages is not None:
        points["stages"] = await _stages(connection, run.plan_id)
    if rules.prepaid is not None:
        points["deposits"] = _deposits(shown, lines, swept)
    if rules.family_payers:
        points["payers"] = await _payers(connection, run)
    return points


async def _aid_steps(connection: AsyncConnection, run: Run) -> object:
    """How the aid of the run's first case was worked out."""
    first = select(run_cases.c.claim_id).where(run_cases.c.run_id == run.run_id).order_by(run_cases.c.number).limit(1)
    filed, *_ = await history(connection, int(await connection.scalar(first) or 0))
    return filed.detail["steps"]


async def _stages(connection: AsyncConnection, plan_id: int) -> Points:
    sums = select(func.sum(claims.c.aid_minor), func.sum(claims.c.shared_minor)).where(claims.c.plan_id == plan_id)
    granted, shared = (int(total) for total in (await connection.execute(sums)).one())
    return {"granted": to_major(granted), "shared": to_major(shared), "left_to_bill": to_major(granted - shared)}


def _deposits(shown: Mapping[str, Any], lines: Sequence[TrialLine], swept: Swept) -> Points:
    """What was paid in is all the cash there is: nothing else came yet, and nothing was paid out."""
    stands = {line.account: line.debit - line.credit for line in lines}
    return {
        "paid_in": to_major(stands.get(Account.CUSTODIAN_CASH, 0)),
        "drawn": shown["charged"],
        "owed_back": to_major(-stands.get(Account.REFUNDS_PAYABLE, 0)),
        "left": to_major(-stands.get(Account.MEMBER_DEPOSITS, 0)),
        "frozen": swept.frozen,
    }


async def _payers(connection: AsyncConnection, run: Run) -> Points:
    found = await debits_of(connection, run)
    return {
        "instructions": found.instructions,
        "accounts": found.payers,
        "family_shares": found.family_shares,
        "family_amount": to_major(found.family_minor),
    }


def told(rules: PlanRules, run: Run, points: Points) -> Iterator[str]:
    """The points as sentences."""
    shown: Any = run.preview
    if surplus := points.get("surplus"):
        yield from _surplus_told(rules, surplus)
    if "aid_steps" in points:
        yield f"the first claim: {'; '.join(points['aid_steps'])}"
    if rounds := points.get("rounds"):
        most, fewest = (choose(each["sharers"] for each in rounds) for choose in (max, min))
        yield (
            f"{len(rounds):,} cases, one after the other on the balances the one before left: "
            f"{most:,} members shared the one with the most, {fewest:,} the one with the fewest"
        )
    borne = to_minor(shown["sponsor"]) - to_minor(shown["waived"])
    if borne:
        yield f"{rules.share.sponsor} pays {amount(rules, borne)}, what caps keep from the members"
    if "aid_asked" in points:
        yield _cut_told(rules, points["aid_asked"], shown["aid"])
    if stages := points.get("stages"):
        assert rules.aid_stages is not None
        yield (
            f"aid in stages: of {_amount(rules, stages['granted'])} granted, {percent(rules.aid_stages.first)} is paid "
            f"at once, {_amount(rules, stages['shared'])}; {_amount(rules, stages['left_to_bill'])} is left to bill"
        )
    if deposits := points.get("deposits"):
        yield from _deposits_told(rules, run, deposits)
    if payers := points.get("payers"):
        yield (
            f"{payers['instructions']:,} debits on {payers['accounts']:,} accounts; {payers['family_shares']:,} of "
            f"them, {_amount(rules, payers['family_amount'])}, pay for somebody else of the family"
        )


def _surplus_told(rules: PlanRules, surplus: Points) -> Iterator[str]:
    assert rules.surplus is not None
    premiums, off, costs = (_amount(rules, surplus[name]) for name in ("premiums", "claims", "costs"))
    kept_in = "of cover" if rules.surplus.benefit is Benefit.COVER else unit(rules)
    tiers, amounts = surplus["given"], (surplus["shared"], *surplus["given"].values())
    shared, *given = (f"{grouped(to_minor(each))} {kept_in}" for each in amounts)
    yield f"the quarter's premiums {premiums} - claims {off} - costs {costs}: {shared} to give"
    yield f"each member is given {listed([f'{part} in {tier}' for part, tier in zip(given, tiers, strict=True)])}"


def _cut_told(rules: PlanRules, asked: str, paid: str) -> str:
    cut = to_minor(asked) - to_minor(paid)
    if not cut:
        return f"all of the aid asked is paid, {_amount(rules, paid)}"
    return (
        f"aid asked {_amount(rules, asked)}, aid paid {_amount(rules, paid)}: what caps and balances keep from the "
        f"members, {amount(rules, cut)}, is cut from the aid"
    )


def _deposits_told(rules: PlanRules, run: Run, deposits: Points) -> Iterator[str]:
    prepaid = rules.prepaid
    assert prepaid is not None
    paid_in, drawn, back, left = (_amount(rules, deposits[name]) for name in ("paid_in", "drawn", "owed_back", "left"))
    yield f"balances: {paid_in} paid in - {drawn} drawn - {back} owed back to members who left: {left} is left"
    since = run.debit_on + timedelta(days=1)
    yield (
        f"{deposits['frozen']:,} members have less than {amount(rules, prepaid.floor)} left: from {since} on they are "
        f"frozen and not counted; they have {prepaid.return_days} days to pay in again, then they leave"
    )


def _amount(rules: PlanRules, major: str) -> str:
    return f"{grouped(to_minor(major))} {unit(rules)}"
