"""`fentan demo`: a whole share run on this machine, from a synthetic roster to closed books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.cli import report_file
from engine.cli.collected import Collection, clear, print_books
from engine.cli.ledger import print_statement, print_trial_balance
from engine.cli.points import day_after, points_of, told
from engine.cli.processes import worker_processes
from engine.cli.roster import import_with_progress
from engine.cli.run import follow
from engine.cli.run_tables import phases_shown, print_preview, words_of
from engine.cli.shell import Addresses, addresses, start
from engine.cli.story import Story, bring_claims, claimants, demo_story, plan_story_run, replay_story
from engine.errors import FentanError, InvalidInput
from engine.ledger.trial_balance import difference, trial_balance
from engine.log import configure_log
from engine.money import grouped, to_major
from engine.plans.rules import PlanRules
from engine.roster.plan import Plan, enter_plan
from engine.roster.presets import load_plan
from engine.roster.synth import write_synthetic
from engine.runs.preview import approve
from engine.runs.report import Totals, phase_seconds, phase_table, totals_of
from engine.runs.run import Run
from engine.runs.states import RunState
from engine.settings import Settings
from engine.store.database import engine_on, migrate
from engine.store.doorbell import Doorbell, doorbell
from engine.store.tables import imports, metadata, plans
from engine.store.tables import members as members_table

REPLAY_MEMBERS = 23_000_000
DEMO_MEMBERS = 1_000_000
PLANNER, APPROVER = "demo planner", "demo approver"
ELSEWHERE = "run the demo in another folder, or name another database"
MARK = "holds a demo of fentan; the next demo replaces it"

console = Console()


class DemoFailed(FentanError):
    """The demo's run did not end as it should."""


def demo(
    members: Annotated[int | None, typer.Option(min=1, help="Members of the synthetic roster.")] = None,
    plan: Annotated[str, typer.Option(help="A plan of config/plans.")] = "xianghubao",
    report: Annotated[Path | None, typer.Option(help="Where the JSON report goes.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the synthetic roster.")] = 1,
    replay: Annotated[bool, typer.Option(help="The run 相互宝 published on 21 January 2019, with 23,000,000.")] = False,
) -> None:
    """Play a whole share run, from roster and claims to the seal, then its debits to closed books; and show it."""
    settings = start()
    configure_log(settings.log_format, "warning")
    report_file.prepare(report)
    rules = load_plan(plan)
    if replay:
        story = replay_story(rules, members or REPLAY_MEMBERS, seed)
    else:
        story = demo_story(rules, members or DEMO_MEMBERS, seed)
    with addresses(settings) as found:
        outcome = asyncio.run(_play(found, settings, rules, story, workers))
    if report is not None:
        report_file.write(report, outcome)
        console.print(f"report: {report}")


async def _play(found: Addresses, settings: Settings, rules: PlanRules, story: Story, workers: int) -> dict[str, Any]:
    async with engine_on(found.database_url) as engine, _alone(engine):
        await _begin_empty(engine, settings)
        direction = rules.direction.value
        console.print(
            f"[bold]{rules.name}[/bold] ({rules.code}): {story.members:,} members, {direction} on {story.debit_on}"
        )
        began = monotonic()
        plan, refs = await _bring_roster(engine, settings, rules, story)
        roster_seconds = monotonic() - began
        async with engine.begin() as connection:
            passed = await bring_claims(connection, plan, rules, story, refs)
        console.print(_published(story, passed))
        async with doorbell(found.redis_url) as bell:
            with worker_processes(workers, found, quiet=True) as processes:
                run = await _run(engine, bell, plan, story, lambda: any(each.poll() is None for each in processes))
        return await _show(engine, found, settings, run, rules, refs[0], roster_seconds)


def _published(story: Story, passed: int) -> str:
    if story.quarter is not None:
        return f"a quarter's premiums, claims and costs were published on {story.notice_on}"
    first = story.asked[0].notice_on
    days = f"on {first}" if first == story.notice_on else f"from {first} to {story.notice_on}"
    return f"{passed} claims were published {days} and passed their notice"


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """One demo in a database at a time. Raises InvalidInput."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(hashtext('fentan demo'))")):
            raise InvalidInput("a demo is running in this database; wait for it, or run this one in another folder")
        yield


async def _begin_empty(engine: AsyncEngine, settings: Settings) -> None:
    """Clear what an earlier demo left; refuse a database that holds anything else. Raises InvalidInput."""
    ours = {*metadata.tables, "alembic_version"}
    async with engine.begin() as connection:
        mark = await connection.scalar(text("SELECT obj_description('public'::regnamespace, 'pg_namespace')"))
        found = set(await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
        if found - ours:
            raise InvalidInput(f"this database holds {min(found - ours)}, which is not Fentan's; {ELSEWHERE}")
        if plans.name in found:
            made = int(mark == MARK)  # a demo registers one plan and imports one roster
            for table in (plans, imports):
                if (await connection.scalar(select(func.count()).select_from(table)) or 0) > made:
                    raise InvalidInput(f"this database holds {table.name} that no demo made; {ELSEWHERE}")
        if mark == MARK:
            clear(settings)
            await connection.execute(text("DROP SCHEMA public CASCADE"))
            await connection.execute(text("CREATE SCHEMA public"))
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.execute(text(f"COMMENT ON SCHEMA public IS '{MARK}'"))


async def _bring_roster(
    engine: AsyncEngine, settings: Settings, rules: PlanRules, story: Story
) -> tuple[Plan, list[str]]:
    """Register the plan, make a roster file and import it; the plan, and who will claim."""
    async with engine.begin() as connection:
        plan = await enter_plan(connection, rules, actor=PLANNER)
    path = settings.data_dir / "demo" / "roster.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_synthetic(path, story.members, story.seed, rules, joined_from=story.joined_from, joined_until=story.notice_on)
    refs = claimants(path, story, rules)
    await import_with_progress(engine, settings, plan, path, console)
    path.unlink()
    return plan, refs


async def _run(engine: AsyncEngine, bell: Doorbell, plan: Plan, story: Story, is_worked_on: Callable[[], bool]) -> Run:
    """Plan, preview, approve by another, post and seal, with real workers. Raises DemoFailed."""
    async with engine.begin() as connection:
        run = await plan_story_run(connection, plan, story, actor=PLANNER)
    await bell.ring(run.run_id, "planned")
    run = await follow(engine, run.run_id, console, is_worked_on)
    if run.state is not RunState.PREVIEWED:
        raise DemoFailed(f"run {run.run_id} is {run.state}: {run.failure}")
    assert run.preview is not None
    assert run.preview_digest is not None
    print_preview(console, run.run_id, run.preview, run.preview_digest.hex())
    async with engine.begin() as connection:
        await approve(connection, run.run_id, actor=APPROVER)
    await bell.ring(run.run_id, "approved", times=2)
    run = await follow(engine, run.run_id, console, is_worked_on)
    if run.state is not RunState.SEALED:
        raise DemoFailed(f"run {run.run_id} is {run.state}; `fentan run show {run.run_id}` says why")
    return run


async def _show(
    engine: AsyncEngine,
    found: Addresses,
    settings: Settings,
    run: Run,
    rules: PlanRules,
    member_ref: str,
    roster_seconds: float,
) -> dict[str, Any]:
    async with engine.begin() as connection:
        swept = await day_after(connection, run, rules)
    async with engine.connect() as connection:
        totals = await totals_of(connection, run)
        lines = await trial_balance(connection, run.plan_id)
        points = await points_of(connection, run, rules, lines, swept)
        everyone = await connection.scalar(select(func.count()).select_from(members_table))
    if totals is None or run.root is None:
        raise DemoFailed(f"run {run.run_id} has no totals")
    _print_totals(run, rules, totals)
    for sentence in told(rules, run, points):
        console.print(f"• {sentence}", highlight=False, soft_wrap=True)
    print_trial_balance(console, lines)
    await print_statement(console, engine, run.plan_id, member_ref)
    console.print(f"sealed root {run.root.hex()}")
    books = await Collection(engine, found, settings, run, rules, planner=PLANNER, approver=APPROVER).play()
    print_books(console, books)
    async with engine.connect() as connection:
        closed_lines = await trial_balance(connection, run.plan_id)
    seconds = {"roster": roster_seconds} | phase_seconds(run.moments) | books.seconds
    phases = phase_table(seconds, everyone or 0)
    console.print(phases_shown(phases))
    return {
        "plan": run.plan_code,
        "debit_on": run.debit_on.isoformat(),
        "run": run.run_id,
        **totals.as_json(),
        "caps_hit": dict((run.preview or {}).get("caps_hit", {})),
        **points,
        "phases": phases,
        "debits": books.funnel.as_json(),
        "reconciliation": books.reconciliation,
        "faults": {"planted": dict(books.planted), "found": dict(books.found)},
        "proof": books.proof.as_json(),
        "state": books.run.state.value,
        "trial_balance_difference": to_major(difference(closed_lines)),
        "sealed_root": run.root.hex(),
    }


def _print_totals(run: Run, rules: PlanRules, totals: Totals) -> None:
    table = Table(title=f"Run {run.run_id} is sealed", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    words = words_of(is_credit=run.surplus is not None) if rules.prepaid is None else {"charged": "drawn from balances"}
    table.add_row(_who_pays(run), grouped(totals.share))
    table.add_row("members", f"{totals.members:,}")
    table.add_row("sharers", f"{totals.sharers:,}")
    for cap, seats in (run.preview or {}).get("caps_hit", {}).items():
        table.add_row(f"seats at the {cap.replace('_', ' ')} cap", f"{seats:,}")
    if totals.waived_seats:
        table.add_row("seats the sponsor pays for", f"{totals.waived_seats:,}")
        table.add_row("… their shares", grouped(totals.waived))
    for name in ("charged", "sponsor", "carry_in", "aid", "fee", "carry_out"):
        table.add_row(words.get(name, name.replace("_", " ")), grouped(getattr(totals, name)))
    console.print(table)
    into, out = words.get("charged", "charged"), words.get("aid", "aid")
    console.print(
        f"money in {grouped(totals.money_in)} = {into} + sponsor + carry in; "
        f"money out {grouped(totals.money_out)} = {out} + fee + carry out; "
        f"difference {grouped(totals.money_in - totals.money_out)}",
        soft_wrap=True,
    )


def _who_pays(run: Run) -> str:
    """Whose share is shown: everybody's where nothing tells the members apart."""
    shown: Any = run.preview or {}
    if run.surplus is not None:
        return "members are given at most"
    one_tier = len({group["tier"] for group in shown.get("classes", [])}) == 1
    is_stopped = any(seats for cap, seats in shown.get("caps_hit", {}).items() if cap != "per_case")
    return "each member pays" if one_tier and not is_stopped else "members pay at most"
