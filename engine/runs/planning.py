"""Plan and freeze: which claims a run carries, which shards and roster versions it stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from sqlalchemy import Date, case, cast, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.apportion import CapBasis
from engine.claims.sharing import Passed, passed_claims, share
from engine.errors import InvalidInput
from engine.ledger.accounts import CURRENCY, Account, account_id, plan_shard, share_unit
from engine.members.sweep import sweep
from engine.plans.answers import case_cap, floor_minor
from engine.plans.calendar import gate_day, is_debit_day
from engine.plans.days import day_number
from engine.plans.member_rules import Direction
from engine.plans.rules import Gate, PlanRules
from engine.roster.changes import fold, shards_with_changes
from engine.roster.plan import Plan, lock_living, lock_roster, rules_of
from engine.runs.run import Run, frozen_at, load_run, move, note_moment
from engine.runs.shards import Phase, ShardState
from engine.runs.slots import refuse_past_missed, waiting
from engine.runs.states import HOLDS_THE_PLAN, RunEvent, RunState
from engine.store.audit import record
from engine.store.tables import IN_THE_BOOKS, roster, run_cases, run_shards, shards, share_runs
from engine.store.views import journal_lines


class PeriodTaken(InvalidInput):
    """The period has a run already; void it first to plan another."""


async def plan_run(connection: AsyncConnection, plan: Plan, debit_on: date, *, actor: str) -> Run:
    """A run of all claims of the plan that could pass by `debit_on`, each at its own gate, debited on that day.

    Raises InvalidInput when no claim has passed, the day is no debit day, or an earlier slot was missed, and
    PeriodTaken.
    """
    await lock_living(connection, plan.plan_id)
    rules = await rules_of(connection, plan.plan_id, plan.version)
    if rules.direction is Direction.CREDIT:
        raise InvalidInput(
            f"{plan.code} gives its members a surplus; say what it comes from with --premiums, --claims and --costs"
        )
    check_debit_day(rules, debit_on)
    carried = await claims_due(connection, plan, rules, debit_on)
    if not carried:
        await _refuse_twin(connection, plan, debit_on)
        raise InvalidInput(
            f"no passed claim of {plan.code} waits for a run; "
            f"`fentan claim list --plan {plan.code}` shows where they stand"
        )
    cases = [
        {
            "claim_id": claim.claim_id,
            "claim_number": claim.number,
            "aid_minor": claim.aid_minor,
            "gate_day": day_number(gate_day(rules, notice_on=claim.notice_on, debit_on=debit_on)),
            "cap_minor": case_cap(rules),
        }
        for claim in carried
    ]
    run_id = await begin_run(connection, plan, rules, debit_on, cases, actor=actor)
    await share(connection, [claim.claim_id for claim in carried], run_id, on=debit_on)
    await record(connection, actor, "plan run", f"run:{run_id}", {"debit_on": str(debit_on), "cases": len(carried)})
    return await load_run(connection, run_id)


async def claims_due(connection: AsyncConnection, plan: Plan, rules: PlanRules, debit_on: date) -> list[Passed]:
    """The claims that a run of the day carries if it is planned now, in filing order: they could pass by then."""
    due = {claim.claim_id for claim in await waiting(connection, plan.plan_id, rules) if claim.due_on <= debit_on}
    return [claim for claim in await passed_claims(connection, plan.plan_id) if claim.claim_id in due]


def check_debit_day(rules: PlanRules, on: date) -> None:
    """Raises InvalidInput unless members are debited, or credited, on the day."""
    if not is_debit_day(rules, on):
        raise InvalidInput(
            f"{on} is no debit day of {rules.code}; `fentan calendar {rules.code} --year {on.year}` prints them"
        )


async def begin_run(
    connection: AsyncConnection,
    plan: Plan,
    rules: PlanRules,
    debit_on: date,
    cases: Sequence[Mapping[str, object]],
    *,
    actor: str,
    **values: object,
) -> int:
    """Write down a planned run with its cases in filing order and other `values` of its row; its number.

    Raises InvalidInput when an earlier slot was missed, and PeriodTaken.
    """
    await refuse_past_missed(connection, plan, rules, debit_on)
    try:
        async with connection.begin_nested():
            run_id = await connection.scalar(
                insert(share_runs)
                .values(
                    plan_id=plan.plan_id,
                    rules_version=plan.version,
                    debit_on=debit_on,
                    state=RunState.PLANNED,
                    planned_by=actor,
                    moments=func.jsonb_build_object("planned", func.clock_timestamp()),
                    **values,
                )
                .returning(share_runs.c.run_id)
            )
    except IntegrityError:
        await _refuse_twin(connection, plan, debit_on)
        raise
    assert isinstance(run_id, int)
    numbered = [{"run_id": run_id, "number": number, **case} for number, case in enumerate(cases, start=1)]
    await connection.execute(insert(run_cases), numbered)
    return run_id


async def _refuse_twin(connection: AsyncConnection, plan: Plan, debit_on: date) -> None:
    """Raises PeriodTaken when a run of the plan for the day is neither voided nor failed."""
    twin = select(share_runs.c.run_id).where(
        share_runs.c.plan_id == plan.plan_id,
        share_runs.c.debit_on == debit_on,
        share_runs.c.state.not_in([RunState.VOIDED, RunState.FAILED]),
    )
    if (run_id := await connection.scalar(twin)) is not None:
        raise PeriodTaken(
            f"{plan.code} has a run for {debit_on} already; void it first to plan another (`fentan run show {run_id}`)"
        )


async def freeze(connection: AsyncConnection, run: Run, *, freeze_hours: float) -> bool:
    """Fix the shards, the roster versions, the carry and the pointers of a locked run; False while it has to wait.

    It waits for its settlement day (`waits_for`) and for the plan's other run. Every rule that ends or freezes
    memberships by the debit day comes first, though none that is still to come: until then a member may do something
    about it. Changes to the roster fold into at most one new version per shard.
    """
    rules = await rules_of(connection, run.plan_id, run.rules_version)
    today = await today_in(connection, rules.time_zone)
    if waits_for(rules, run.debit_on, today):
        return False
    await lock_roster(connection, run.plan_id)
    holder = await connection.scalar(
        select(share_runs.c.run_id).where(share_runs.c.plan_id == run.plan_id, share_runs.c.state.in_(HOLDS_THE_PLAN))
    )
    if holder is not None:
        return False
    await note_moment(connection, run, "freezing")
    await sweep(connection, run.plan_id, rules, on=min(run.debit_on, today))
    for shard_id in await shards_with_changes(connection, run.plan_id):
        await fold(connection, shard_id)
    members = await _pin_shards(connection, run)
    pointers = await connection.scalar(
        select(share_runs.c.sealed_pointers)
        .where(share_runs.c.plan_id == run.plan_id, share_runs.c.state.in_(IN_THE_BOOKS))
        .order_by(frozen_at().desc())
        .limit(1)
    )
    ledger_seq = await connection.scalar(select(shards.c.seq).where(shards.c.shard_id == plan_shard(run.plan_id)))
    await move(
        connection,
        run,
        RunEvent.FREEZE,
        members=members,
        clip=await _clip(connection, run, rules),
        carry_in=await carry_of(connection, run.plan_id, share_unit(rules)),
        ledger_seq=ledger_seq,
        pointers=pointers or {},
        freeze_expires_at=func.clock_timestamp() + timedelta(hours=freeze_hours),
    )
    return True


def waits_for(rules: PlanRules, debit_on: date, today: date) -> str | None:
    """The day in the plan's zone that a planned run waits for, in words; None when it can be frozen on `today`.

    Who is in force on the settlement day shares, so that nothing can be fixed before it has begun.
    """
    if rules.share.gate is not Gate.SETTLEMENT_DAY or debit_on <= today:
        return None
    return f"{debit_on}, 00:00 in {rules.time_zone}: who is covered then shares"


async def today_in(connection: AsyncConnection, time_zone: str) -> date:
    """The day it is in a time zone, by the database's clock."""
    now = func.timezone(time_zone, func.clock_timestamp())
    return (await connection.execute(select(cast(now, Date)))).scalar_one()


async def carry_of(connection: AsyncConnection, plan_id: int, unit: int = CURRENCY) -> int:
    """What rounding up collected beyond the pools so far, in minor units of the currency or of cover."""
    carry = await connection.scalar(
        select(-func.coalesce(func.sum(journal_lines.c.amount), 0)).where(
            journal_lines.c.shard_id == plan_shard(plan_id),
            journal_lines.c.account_id == account_id(plan_id, Account.CARRY, unit),
        )
    )
    return int(carry or 0)


async def _pin_shards(connection: AsyncConnection, run: Run) -> int:
    """Write the run's shards with the roster version and the seq each stands at; how many seats they have."""
    latest = (
        select(roster.c.shard_id, func.max(roster.c.version).label("version")).group_by(roster.c.shard_id).subquery()
    )
    frozen = (
        select(
            shards.c.shard_id,
            literal(run.run_id),
            literal(Phase.MEASURE),
            literal(ShardState.PENDING),
            latest.c.version,
            shards.c.seq,
            shards.c.seats,
        )
        .join(latest, latest.c.shard_id == shards.c.shard_id)
        .where(shards.c.plan_id == run.plan_id, shards.c.number > 0)
    )
    columns = ["shard_id", "run_id", "phase", "state", "roster_version", "ledger_seq", "seats"]
    await connection.execute(insert(run_shards).from_select(columns, frozen))
    seats = select(func.coalesce(func.sum(run_shards.c.seats), 0)).where(run_shards.c.run_id == run.run_id)
    return int(await connection.scalar(seats) or 0)


async def _clip(connection: AsyncConnection, run: Run, rules: PlanRules) -> int | None:
    """What no seat can owe more than, where every case has a cap per head; None where one has not.

    Allowances above it need not be told apart, which keeps the histograms small. A floor stands on top: who has both
    cannot come below it within the run.
    """
    if rules.caps.basis is not CapBasis.HEAD:
        return None
    cap = run_cases.c.cap_minor
    bounded = select(case((func.count() == func.count(cap), func.sum(cap)))).where(run_cases.c.run_id == run.run_id)
    most = await connection.scalar(bounded)
    return None if most is None else int(most) + floor_minor(rules)


async def measure_again(connection: AsyncConnection, run: Run, clip: int) -> None:
    """The clip was too small: double it past `clip` and let every shard be measured again."""
    await connection.execute(
        update(run_shards)
        .where(run_shards.c.run_id == run.run_id)
        .values(state=ShardState.PENDING, failures=0, histogram=None, waived_histogram=None)
    )
    await move(connection, run, RunEvent.MEASURE_AGAIN, clip=2 * clip)
