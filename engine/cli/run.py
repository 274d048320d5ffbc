"""`fentan run`: plan, preview, approve, watch, pause, resume, retry, void, correct, show, list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli import payers, slots
from engine.cli.answer import print_json
from engine.cli.options import As
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
from engine.runs.run import Run, list_runs, load_run
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
MONEY = ("aid", "fee", "carry_in", "carry_out", "sponsor", "charged", "waived", "share")
WATCH_SECONDS = 0.2
ROWS_MAX = 20
"""Classes or cases of a preview that a screen shows; --json has them all."""


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
        print_preview(console, run)


def print_preview(out: Console, run: Run) -> None:
    """A run's preview for eyes."""
    shown: Any = run.preview
    kind = "debit" if run.surplus is None else "credit"
    out.print(f"Preview of run {run.run_id}: {shown['plan']}, {kind} on {shown['debit_on']}", style="italic")
    money = Table(show_header=False)
    money.add_column()
    money.add_column(justify="right")
    for name in ("cases", "members", "sharers"):
        money.add_row(name, f"{shown[name]:,}")
    words = words_of(run)
    for name in ("aid", "fee", "carry_in", "carry_out", "charged", "sponsor", "waived", "share"):
        money.add_row(words.get(name, name.replace("_", " ")), grouped(to_minor(shown[name])))
    for cap, seats in shown["caps_hit"].items():
        money.add_row(f"seats at the {cap.replace('_', ' ')} cap", f"{seats:,}")
    if shown["waived_seats"]:
        money.add_row("seats the sponsor pays for", f"{shown['waived_seats']:,}")
    for name in ("premiums", "claims", "costs") if run.surplus is not None else ():
        money.add_row(f"{name} of the period", grouped(to_minor(shown["surplus"][name])))
    out.print(money)
    if "rounds" in shown:
        _print_rounds(out, shown["rounds"])
    else:
        _print_classes(out, shown["classes"], "pays" if run.surplus is None else "gets")
    out.print(f"digest {run.preview_digest.hex() if run.preview_digest else ''}")


def _print_rounds(out: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    amounts = ("charged", "aid", "fee", "sponsor", "carry")
    rounds = Table("claim", Column("sharers", justify="right"), "each pays", title="Case by case")
    for name in amounts:
        rounds.add_column(name, justify="right")
    for row in rows[:ROWS_MAX]:
        shares = ", ".join(f"{tier} {share}" for tier, share in row["shares"].items())
        money = [grouped(to_minor(row[name])) for name in amounts]
        rounds.add_row(str(row["claim"]), f"{row['sharers']:,}", shares, *money)
    out.print(rounds)
    if len(rows) > ROWS_MAX:
        out.print(f"… and {len(rows) - ROWS_MAX} more cases; --json has them all")


def words_of(run: Run) -> dict[str, str]:
    """What amounts are called of a run that gives instead of taking."""
    return {} if run.surplus is None else {"charged": "surplus", "aid": "given", "share": "given at most"}


def _print_classes(out: Console, rows: Sequence[Mapping[str, Any]], does: str) -> None:
    classes = Table(title=f"Who {does} what")
    for column in ("tier", "gates", "allowance"):
        classes.add_column(column)
    for column in ("seats", "exact share", does):
        classes.add_column(column, justify="right")
    for row in rows[:ROWS_MAX]:
        gates, allowance = ", ".join(row["gates"]), row["allowance"] or "none"
        classes.add_row(row["tier"], gates, allowance, f"{row['seats']:,}", row["exact"], row["charge"])
    out.print(classes)
    if len(rows) > ROWS_MAX:
        out.print(f"… and {len(rows) - ROWS_MAX} more classes; --json has them all")


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
    said = [str(run.state), *(["paused"] if run.paused else []), *([run.failure] if run.failure else [])]
    console.print(f"run {run_id} is {', '.join(said)}", soft_wrap=True)
    if failed:
        console.print(f"{failed} of its shards failed; `fentan run show {run_id}` says why", soft_wrap=True)
    if run.state is RunState.FAILED or run.paused or failed:
        raise typer.Exit(1)


async def follow(
    engine: AsyncEngine, run_id: int, out: Console, is_worked_on: Callable[[], bool] = lambda: True
) -> Run:
    """Show a run's progress until it rests, is paused, or nobody works on it any more; the run as it then stands."""
    columns = (
        TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"), TimeRemainingColumn(),
    )  # fmt: skip
    async with engine.connect() as connection:
        await load_run(connection, run_id)  # a run that is not there is said so, before anything is drawn
    with Progress(*columns, console=out, transient=not out.is_terminal) as bars:
        phase: RunState | None = None
        began, before, task = monotonic(), 0, None
        while True:
            async with engine.connect() as connection:
                run = await load_run(connection, run_id)
                done = await progress_of(connection, run_id)
            if run.state is not phase:
                phase, began, before = run.state, monotonic(), done.seats_done
                task = bars.add_task(str(phase), total=done.seats or None, speed="")
            speed = max(done.seats_done - before, 0) / max(monotonic() - began, 1e-6)
            if task is not None and run.state not in RESTS:
                bars.update(task, completed=done.seats_done, total=done.seats or None, speed=f"{speed:,.0f} members/s")
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
    _print_run(found)


def _print_run(found: dict[str, Any]) -> None:
    """A run for eyes: what it is and came to, its cases, its phases, and what went wrong."""
    facts = Table(title=f"Run {found['run']}", show_header=False)
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in found.items():
        if value in (None, [], {}) or name in ("run", "cases", "phases", "since", "missing_to_close", "failed_shards"):
            continue
        facts.add_row(name.replace("_", " "), _fact(name, value))
    for name, moment in found["since"].items():
        facts.add_row(f"{name} since", f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M %Z}")
    console.print(facts)
    if found["cases"]:
        cases = Table("claim", *(Column(name, justify="right") for name in ("aid", "aid paid", "fee")), title="Cases")
        for case in found["cases"]:
            amounts = [grouped(to_minor(case[name])) if case[name] else "" for name in ("aid", "aid_paid", "fee")]
            cases.add_row(str(case["claim"] or "surplus"), *amounts)
        console.print(cases)
    if found["phases"]:
        console.print(phases_shown(found["phases"]))
    for missing in found["missing_to_close"]:
        console.print(f"before it can be closed: {missing}", soft_wrap=True)
    for failed in found["failed_shards"]:
        console.print(f"shard {failed['shard']} failed: {failed['error']}", style="red", soft_wrap=True)


def _fact(name: str, value: Any) -> str:
    if name == "shards":
        return ", ".join(f"{count:,} {state}" for state, count in value.items() if count or state == "all")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return grouped(to_minor(value)) if name in MONEY else str(value)


def phases_shown(phases: Mapping[str, Mapping[str, float]]) -> Table:
    """How long each phase took, for eyes."""
    table = Table(
        "phase", *(Column(name, justify="right") for name in ("seconds", "members/s")), title="How long it took"
    )
    for phase, row in phases.items():
        table.add_row(phase, f"{row['seconds']:.2f}", f"{row['members_per_second']:,.0f}")
    return table


@app.command("list")
def list_(plan: Annotated[str | None, typer.Option(help="Only this plan's.")] = None, as_json: AsJson = False) -> None:
    """The latest runs."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Run]:
        async with engine.connect() as connection:
            return await list_runs(connection, (await plan_of(connection, plan)).plan_id if plan else None)

    runs = in_database(listed)
    if as_json:
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
            for run in runs
        ]
        print_json(rows)
        return
    table = Table("run", "plan", "debit on", "state", "planned by", "approved by", "share")
    for run in runs:
        state = f"{run.state} (paused)" if run.paused else str(run.state)
        share = str((run.preview or {}).get("share", ""))
        table.add_row(str(run.run_id), run.plan_code, str(run.debit_on), state, run.planned_by, run.approved_by, share)
    console.print(table)
