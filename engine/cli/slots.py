"""`fentan run slots` and `fentan run skip`: what became of each debit slot, and the decision to let one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.claims.sharing import expected_claims
from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.shell import in_database
from engine.plans import PlanRules
from engine.roster.plan import plan_of, rules_of
from engine.runs.slots import DueSlot, SlotState, Waiting, overdue, slots_due
from engine.runs.slots import skip as skip_slot
from engine.settings import Settings

PlanCode = Annotated[str, typer.Option("--plan", metavar="CODE", help="The plan.")]


def slots(
    plan: PlanCode,
    on: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="As of this day. [default: today in the plan's zone]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Each debit slot since the plan's first run or claim: run, skipped, missed, or open; and what to do."""

    async def read(engine: AsyncEngine, _: Settings) -> tuple[PlanRules, date, list[DueSlot], list[Waiting], list[int]]:
        async with engine.connect() as connection:
            found = await plan_of(connection, plan)
            rules = await rules_of(connection, found.plan_id, found.version)
            day = on.date() if on is not None else _today(rules)
            due = await slots_due(connection, found, rules, on=day)
            late = await overdue(connection, found, rules, on=day)
            to_pass = (await expected_claims(connection, found.plan_id, by=day)).under_notice
            return rules, day, due, late, [claim.claim_id for claim in to_pass]

    rules, day, due, late, to_pass = in_database(read)
    any_day = rules.debit.days_of_month is None
    if as_json:
        answer = {
            "plan": plan,
            "on": day,
            "any_day": any_day,
            "slots": [asdict(slot) for slot in due],
            "overdue": [claim._asdict() for claim in late],
            "to_pass": to_pass,
        }
        print_json(answer)
        return
    if any_day:
        _print_overdue(plan, late)
    else:
        _print_slots(plan, due)
    if to_pass:
        print(
            f"the notice has ended of {_claims(len(to_pass))} not passed yet: "
            f"`fentan claim pass --due --plan {plan} --as NAME`"
        )


def skip(
    plan: PlanCode,
    debit_on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The slot's debit day.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes into the audit log.")],
    actor: As,
) -> None:
    """Let a debit slot go without a run, by decision: the claims that waited for it go with the next run."""

    async def skipped(engine: AsyncEngine, _: Settings) -> DueSlot:
        async with engine.begin() as connection:
            found = await plan_of(connection, plan)
            rules = await rules_of(connection, found.plan_id, found.version)
            today = _today(rules)
            return await skip_slot(connection, found, rules, debit_on.date(), reason=reason, actor=actor, on=today)

    slot = in_database(skipped)
    went = f"{_claims(slot.claims)} that waited for it will go with the next run" if slot.claims else "nothing waited"
    print(f"{plan}: the slot of {slot.debit_on} is skipped by {actor}; {went}")


def _print_slots(plan: str, due: Sequence[DueSlot]) -> None:
    table = Table("debit on", "state", "claims", "what it came to")
    for slot in due:
        table.add_row(str(slot.debit_on), slot.state, f"{slot.claims:,}", _what(slot))
    Console(markup=False, emoji=False, highlight=False).print(table)
    for slot in due:
        if slot.state is SlotState.MISSED:
            options = f"--plan {plan} --debit-on {slot.debit_on}"
            print(
                f"{slot.debit_on} was missed: run it, late as it is, with `fentan run plan {options} --as NAME`, "
                f"or decide to skip it with `fentan run skip {options} --reason TEXT --as NAME`"
            )


def _print_overdue(plan: str, late: Sequence[Waiting]) -> None:
    print(f"{plan} shares each claim by itself, on any day: there are no slots to miss")
    for claim in late:
        print(f"claim {claim.claim_id} could pass on {claim.due_on} and waits for a run")
    if late:
        print(f"`fentan run plan --plan {plan} --debit-on DATE --as NAME` takes {_claims(len(late))}")


def _what(slot: DueSlot) -> str:
    match slot.state:
        case SlotState.RUN:
            return f"run {slot.run_id}, {slot.run_state}"
        case SlotState.SKIPPED:
            return f"by {slot.skipped_by}: {slot.reason}"
        case SlotState.MISSED:
            return "no run, though something waited" if slot.claims else "no run for this period"
        case SlotState.EMPTY:
            return "nothing waited for it"
        case SlotState.OPEN:
            return "still to be planned" if slot.claims else "nothing waits for it yet"


def _claims(count: int) -> str:
    return f"{count:,} claim{'' if count == 1 else 's'}"


def _today(rules: PlanRules) -> date:
    return datetime.now(ZoneInfo(rules.time_zone)).date()
