"""`fentan run`: plan, preview, approve, watch, pause, resume, retry, void, correct, show, list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli import payers, slots
from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.run_tables import drawing, print_preview, print_run, print_runs, say_where
from engine.cli.shell import in_database, notify
from engine.decisions import Decision, DecisionState
from engine.errors import InvalidInput
from engine.money import BIGINT_MAX, grouped, to_minor
from engine.reconcile.run_report import report_of
from engine.roster.plan import plan_of, rules_of
from engine.runs import control
from engine.runs.corrections import Against, propose_correction
from engine.runs.credit import plan_credit_run
from engine.runs.planning import plan_run
from engine.runs.preview import approve as approve_run
from engine.runs.report import failed_shards
from engine.runs.run import ALL_RUNS, Run, Which, list_runs, load_run
from engine.runs.shards import progress_of
from engine.runs.states import RESTS, RunState
from engine.runs.voiding import void as void_run
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Share runs: plan, preview, approve by another, watch, void.")
app.command()(payers.payers)
app.command()(slots.slots)
app.command()(slots.skip)
console = Console(markup=False)

RunId = Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGINT_MAX, help="The run's number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WATCH_SECONDS = 0.2


@app.command()
def plan(
    plan: Annotated[str, typer.Option("--plan", metavar="CODE", help="The plan.")],
    debit_on: Annotated[datetime, typer.Option("--debit-on", formats=["%Y-%m-%d"], help="A debit day of the plan.")],
    actor: As,
    premiums: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Of a period, for a credit run.")] = None,
    claims: Annotated[str, typer.Option(metavar="AMOUNT", help="What comes off them: claims,")] = "0",
    costs: Annotated[str, typer.Option(metavar="AMOUNT", help="and necessary costs.")] = "0",
) -> None:
    """Plan a run of all passed claims that wait, to be debited on a day; workers freeze, measure and preview it.

    With --premiums it gives the members of a plan like zhonghui-surplus what a period left over.
    """
    amounts = None if premiums is None else (to_minor(premiums), to_minor(claims), to_minor(costs))

    async def planned(engine: AsyncEngine, settings: Settings) -> Run:
        async with engine.begin() as connection:
            found, day = await plan_of(connection, plan), debit_on.date()
            if amounts is None:
                run = await plan_run(connection, found, day, actor=actor)
            else:
                parts = dict(zip(("premiums_minor", "claims_minor", "costs_minor"), amounts, strict=True))
                run = await plan_credit_run(connection, found, day, **parts, actor=actor)
        await notify(settings, run.run_id, "planned")
        return run

    run = in_database(planned)
    console.print(f"run {run.run_id} of {plan} is planned for {run.debit_on}; `fentan run watch {run.run_id}`")


@app.command()
def preview(run_id: RunId, as_json: AsJson = False) -> None:
    """What the run would charge, who hits which cap, and what the sponsor pays."""

    async def loaded(engine: AsyncEngine, _: Settings) -> Run:
        async with engine.connect() as connection:
            return await load_run(connection, run_id)

    run = in_database(loaded)
    if run.preview is None or run.preview_digest is None:
        raise InvalidInput(f"run {run_id} is {run.state} and has no preview yet; `fentan run watch {run_id}`")
    if as_json:
        print_json({**run.preview, "digest": run.preview_digest.hex()})
    else:
        print_preview(console, run_id, run.preview, run.preview_digest.hex())


@app.command()
def approve(
    run_id: RunId,
    actor: As,
    digest: Annotated[str | None, typer.Option(help="The preview's digest, to approve exactly that.")] = None,
) -> None:
    """Approve a preview; by someone else than who planned it."""

    async def approved(engine: AsyncEngine, settings: Settings) -> None:
        async with engine.begin() as connection:
            await approve_run(connection, run_id, actor=actor, digest=digest)
        await notify(settings, run_id, "approved")

    in_database(approved)
    console.print(f"run {run_id} is approved by {actor}; `fentan run watch {run_id}`")


@app.command()
def watch(run_id: RunId) -> None:
    """Follow a run until it rests: shards done, members a second, time left."""

    async def watched(engine: AsyncEngine, _: Settings) -> tuple[Run, int]:
        run = await follow(engine, run_id, console)
        async with engine.connect() as connection:
            return run, len(await failed_shards(connection, run_id))

    run, failed = in_database(watched)
    say_where(console, run_id, run.state, is_paused=run.paused, failure=run.failure, failed=failed)


async def follow(
    engine: AsyncEngine, run_id: int, out: Console, is_worked_on: Callable[[], bool] = lambda: True
) -> Run:
    """Show a run's progress until it rests, is paused, or nobody works on it any more; the run as it then stands."""
    async with engine.connect() as connection:
        await load_run(connection, run_id)  # a run that is not there is said so, before anything is drawn
    with drawing(out) as draw:
        phase: RunState | None = None
        began, before = monotonic(), 0
        while True:
            async with engine.connect() as connection:
                run = await load_run(connection, run_id)
                done = await progress_of(connection, run_id)
            if run.state is not phase:
                phase, began, before = run.state, monotonic(), done.seats_done
            if run.state not in RESTS:
                speed = max(done.seats_done - before, 0) / max(monotonic() - began, 1e-6)
                draw(run.state, done.seats_done, done.seats, speed)
            stuck = done.failed and not (done.working or done.due)
            if run.state in RESTS or run.paused or stuck or not is_worked_on():
                return run
            await asyncio.sleep(WATCH_SECONDS)


@app.command()
def pause(run_id: RunId, actor: As) -> None:
    """Let workers finish the shard in hand and take no other."""
    _set_paused(run_id, paused=True, actor=actor)


@app.command()
def resume(run_id: RunId, actor: As) -> None:
    """Let workers go on."""
    _set_paused(run_id, paused=False, actor=actor)


def _set_paused(run_id: int, *, paused: bool, actor: str) -> None:
    async def set_paused(engine: AsyncEngine, settings: Settings) -> None:
        async with engine.begin() as connection:
            await control.set_paused(connection, run_id, paused=paused, actor=actor)
        if not paused:
            await notify(settings, run_id, "resumed")

    in_database(set_paused)
    console.print(f"run {run_id} is {'paused' if paused else 'going on'}")


@app.command()
def retry(run_id: RunId, actor: As) -> None:
    """Give failed shards a new set of attempts."""

    async def retried(engine: AsyncEngine, settings: Settings) -> int:
        async with engine.begin() as connection:
            count = await control.retry_failed(connection, run_id, actor=actor)
        await notify(settings, run_id, "retried")
        return count

    console.print(f"{in_database(retried)} failed shards of run {run_id} are due again")


@app.command()
def void(
    run_id: RunId, actor: As, reason: Annotated[str, typer.Option(help="Why; it goes into the audit log.")]
) -> None:
    """Drop a run that posted nothing, reverse one that did. Nothing is deleted."""

    async def voided(engine: AsyncEngine, settings: Settings) -> RunState:
        async with engine.begin() as connection:
            state = await void_run(connection, run_id, actor=actor, reason=reason)
        await notify(settings, run_id, "void")
        return state

    console.print(f"run {run_id} is {in_database(voided)}")


@app.command()
def correct(
    run_id: RunId,
    file: Annotated[Path, typer.Option(metavar="FILE", help="CSV of member_ref and amount: + more, − given back.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record: no names.")],
    actor: As,
    against: Annotated[
        Against, typer.Option(help="Who bears what is given back, and keeps what is charged more.")
    ] = Against.SPONSOR,
    on: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The day it takes effect, whose year's cap it counts in; today in the plan's zone unless given.",
        ),
    ] = None,
) -> None:
    """Propose to correct what a sealed run charged a few members; it is posted once somebody else approves."""

    async def proposed(engine: AsyncEngine, _: Settings) -> Decision:
        async with engine.begin() as connection:
            run = await load_run(connection, run_id)
            zone = (await rules_of(connection, run.plan_id, run.rules_version)).time_zone
            day = on.date() if on else datetime.now(ZoneInfo(zone)).date()
            return await propose_correction(
                connection, run_id, file, reason=reason, against=against, on=day, actor=actor
            )

    decision = in_database(proposed)
    number, detail = decision.decision_id, decision.detail
    console.print(
        f"decision {number}, effective on {decision.effective_on}: {detail['members']:,} members of run {run_id} are "
        f"charged {grouped(detail['charged_more_minor'])} more and given {grouped(detail['given_back_minor'])} back, "
        f"against the {detail['against']}",
        soft_wrap=True,
    )
    if decision.state is DecisionState.PROPOSED:
        console.print(f"it waits for somebody else: `fentan decision approve {number} --as NAME`", soft_wrap=True)
    else:
        console.print(f"it is {decision.state} already, by {decision.decided_by}", soft_wrap=True)


@app.command()
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Where a run stands, what it came to, and what went wrong."""

    async def described(engine: AsyncEngine, _: Settings) -> dict[str, Any]:
        async with engine.connect() as connection:
            return (await report_of(connection, run_id)).as_json()

    found = in_database(described)
    if as_json:
        print_json(found)
        return
    print_run(console, found)


@app.command("list")
def list_(plan: Annotated[str | None, typer.Option(help="Only this plan's.")] = None, as_json: AsJson = False) -> None:
    """The latest runs."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Run]:
        async with engine.connect() as connection:
            return await list_runs(connection, Which((await plan_of(connection, plan)).plan_id) if plan else ALL_RUNS)

    rows = [
        {
            "run": run.run_id,
            "plan": run.plan_code,
            "debit_on": str(run.debit_on),
            "state": run.state,
            "paused": run.paused,
            "planned_by": run.planned_by,
            "approved_by": run.approved_by,
            "share": (run.preview or {}).get("share"),
        }
        for run in in_database(listed)
    ]
    if as_json:
        print_json(rows)
    else:
        print_runs(console, rows)
