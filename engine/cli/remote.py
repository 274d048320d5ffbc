"""Commands through the API: where FENTAN_API_URL is set, those in this table ask it instead of the database.

A command keeps its options and its words. `--json` prints what the API answered, as it came. Who decides is whose token
it is: --as may be left out, and must name them where it is there. A command that is not in the table and would open a
database says that it cannot (engine/cli/shell.py).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from datetime import datetime, time
from typing import Any, TypeVar, cast

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.answer import print_json
from engine.cli.run_tables import drawing, print_preview, print_run, print_runs, say_where
from engine.cli.shell import start
from engine.client import Client
from engine.client.answers import Progress, Surplus
from engine.errors import InvalidInput

Asking = Callable[..., Awaitable[None]]
T = TypeVar("T")

PATIENCE_SECONDS = 5.0
"""A person would rather be told soon that nobody answers."""

RUNS_MAX = 50
"""The latest runs that a list shows, as the command does on the database."""

_SINCE = ("sealed", "collecting", "settled", "closed")
_SUMS = ("money_in", "money_out", "ties")

console = Console(markup=False, highlight=False)
COMMANDS: dict[str, Asking] = {}
"""What each command does through the API, called with the client and the command's own options."""


def asks(command: str) -> Callable[[Asking], Asking]:
    """Declare what a command does through the API."""

    def declared(asking: Asking) -> Asking:
        COMMANDS[command] = asking
        return asking

    return declared


def through_api(group: typer.Typer, name: str) -> typer.Typer:
    """The same group of commands, with those of the table asking the API."""
    made = copy(group)
    made.registered_commands = []
    for command in group.registered_commands:
        local = command.callback
        assert local is not None
        asking = COMMANDS.get(f"{name} {command.name or local.__name__}")
        made.registered_commands.append(copy(command))
        if asking is not None:
            made.registered_commands[-1].callback = _asking(local, asking)
    return made


def _asking(local: Callable[..., Any], asking: Asking) -> Callable[..., None]:
    """A command with the options of a local one, of which --as may be left out."""

    @functools.wraps(local)
    def command(actor: str | None = None, **given: Any) -> None:
        asyncio.run(_asked(asking, actor, given))

    declared = inspect.signature(local, eval_str=True)
    options = [
        each.replace(kind=each.KEYWORD_ONLY, default=None if each.name == "actor" else each.default)
        for each in declared.parameters.values()
    ]
    command.__signature__ = declared.replace(parameters=options)  # type: ignore[attr-defined]
    return command


async def _asked(asking: Asking, actor: str | None, given: Mapping[str, Any]) -> None:
    settings = start()
    token = settings.api_token.get_secret_value()
    async with Client(settings.api_url, token, patience_seconds=PATIENCE_SECONDS) as client:
        if actor is not None and (holder := (await client.show_me())["name"]) != actor:
            raise InvalidInput(
                f"--as {actor}: FENTAN_API_TOKEN is {holder}'s, and it is {holder} who decides; leave --as out, or use "
                f"a token of {actor}'s"
            )
        await asking(client, **given)


async def _all(items: AsyncIterator[T], limit: int | None = None) -> list[T]:
    """The items of a list, up to so many."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


def _show(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], right: Sequence[str] = ()) -> None:
    """A table for eyes: headings, and the field under each; None is an empty cell."""
    table = Table()
    for heading in columns:
        table.add_column(heading, justify="right" if heading in right else "left")
    for row in rows:
        cells = [row[name] for name in columns.values()]
        table.add_row(*("" if cell is None else f"{cell:,}" if type(cell) is int else str(cell) for cell in cells))
    console.print(table)


def _facts(title: str, fields: Mapping[str, Any]) -> None:
    """One thing for eyes, a fact a line."""
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, [], {}):
            table.add_row(name.replace("_", " "), f"{len(value):,}" if isinstance(value, list) else str(value))
    console.print(table)


# Runs


@asks("run plan")
async def _plan(
    client: Client, *, plan: str, debit_on: datetime, premiums: str | None, claims: str, costs: str
) -> None:
    surplus: Surplus | None = None if premiums is None else {"premiums": premiums, "claims": claims, "costs": costs}
    run = await client.plan_run(plan, debit_on.date(), surplus=surplus)
    number = run["run_id"]
    console.print(f"run {number} of {plan} is planned for {run['debit_on']}; `fentan run watch {number}`")


@asks("run preview")
async def _preview(client: Client, *, run_id: int, as_json: bool) -> None:
    preview = await client.show_preview(run_id)
    if as_json:
        print_json(preview)
    else:
        print_preview(console, run_id, preview, preview["digest"])


@asks("run approve")
async def _approve(client: Client, *, run_id: int, digest: str | None) -> None:
    run = await client.approve_run(run_id, digest or (await client.show_preview(run_id))["digest"])
    console.print(f"run {run_id} is approved by {run['approved_by']}; `fentan run watch {run_id}`")


@asks("run watch")
async def _watch(client: Client, *, run_id: int) -> None:
    at = await client.show_progress(run_id)  # a run that is not there is said so, before anything is drawn
    with drawing(console) as draw:
        async with aclosing(client.follow_run(run_id)) as events:
            async for event in events:
                at = cast("Progress", event.data)
                if at["phase"] is not None:
                    draw(at["state"], at["seats_done"], at["seats"], at["members_per_second"])
                is_stuck = at["shards_failed"] and not (at["shards_working"] or at["shards_due"])
                if at["is_paused"] or is_stuck:
                    break
    failed = at["shards_failed"]
    say_where(console, run_id, at["state"], is_paused=at["is_paused"], failure=at["failure"], failed=failed)


@asks("run pause")
async def _pause(client: Client, *, run_id: int) -> None:
    await client.pause_run(run_id)
    console.print(f"run {run_id} is paused")


@asks("run resume")
async def _resume(client: Client, *, run_id: int) -> None:
    await client.resume_run(run_id)
    console.print(f"run {run_id} is going on")


@asks("run retry")
async def _retry(client: Client, *, run_id: int) -> None:
    failed = (await client.show_progress(run_id))["shards_failed"]
    left = (await client.retry_run(run_id))["shards_failed"]
    console.print(f"{failed - left} failed shards of run {run_id} are due again")


@asks("run void")
async def _void(client: Client, *, run_id: int, reason: str) -> None:
    console.print(f"run {run_id} is {(await client.void_run(run_id, reason))['state']}")


@asks("run show")
async def _show_run(client: Client, *, run_id: int, as_json: bool) -> None:
    outcome = await client.show_outcome(run_id)
    if as_json:
        print_json(outcome)
        return
    run, at = await client.show_run(run_id), await client.show_progress(run_id)
    found = {
        "run": run_id,
        **{name: outcome[name] for name in ("plan", "debit_on", "state", "waits_for")},
        "paused": run["is_paused"],
        "planned_by": run["planned_by"],
        "approved_by": run["approved_by"],
        "shards": {
            "all": at["shards"],
            "done": at["shards_done"],
            "working": at["shards_working"],
            "failed": at["shards_failed"],
        },
        **{name: value for name, value in (outcome["totals"] or {}).items() if name not in _SUMS},
        "cases": [{"claim": case["claim_id"], **case} for case in outcome["cases"]],
        "since": {name: run["moments"][name] for name in _SINCE if name in run["moments"]},
        "missing_to_close": outcome["missing_to_close"],
        "phases": outcome["phases"],
        "preview_digest": run["preview_digest"],
        "sealed_root": run["root"],
        "void_root": run["void_root"],
        "failure": outcome["failure"],
        "failed_shards": [{"shard": each["shard_id"], "error": each["error"]} for each in outcome["failed_shards"]],
    }
    print_run(console, found)


@asks("run list")
async def _list_runs(client: Client, *, plan: str | None, as_json: bool) -> None:
    runs = await _all(client.list_of_runs(plan=plan), RUNS_MAX)
    if as_json:
        print_json(runs)
        return
    print_runs(console, [{"run": run["run_id"], "paused": run["is_paused"], **run} for run in runs])


@asks("run slots")
async def _slots(client: Client, *, plan: str, on: datetime | None, as_json: bool) -> None:
    if on is not None:
        raise InvalidInput("the API tells of the slots as of today; leave --on out, or ask where the database is")
    slots = await _all(client.list_of_slots(plan))
    if as_json:
        print_json(slots)
    else:
        columns = {"debit on": "debit_on", "state": "state", "claims": "claims", "run": "run_id", "it is": "run_state"}
        _show(slots, {**columns, "skipped by": "skipped_by", "why": "reason"}, right=("claims",))


@asks("run skip")
async def _skip(client: Client, *, plan: str, debit_on: datetime, reason: str) -> None:
    slot = await client.skip_slot(plan, debit_on.date(), reason)
    console.print(
        f"{plan}: the slot of {slot['debit_on']} is skipped by {slot['skipped_by']}; "
        f"{slot['claims']:,} claims that waited for it go with the next run",
        soft_wrap=True,
    )


# Schedules


@asks("schedule list")
async def _list_schedules(client: Client, *, as_json: bool) -> None:
    found = await _all(client.list_of_schedules())
    if as_json:
        print_json(found)
        return
    columns = {
        "plan": "plan", "planned at": "plans_at", "set by": "set_by", "next slot": "next_slot",
        "missed": "missed_slots", "claims waiting": "claims_waiting", "last refusal": "refusal",
    }  # fmt: skip
    _show(found, columns, right=("missed", "claims waiting"))


@asks("schedule set")
async def _set_schedule(client: Client, *, plan: str, at: time) -> None:
    made = await client.schedule_plan(plan, f"{at:%H:%M}")
    said = f"runs are planned at {made['plans_at']} of each debit day, in the name of {made['set_by']}"
    console.print(f"{plan}: {said}", soft_wrap=True)


@asks("schedule end")
async def _end_schedule(client: Client, *, plan: str) -> None:
    await client.unschedule_plan(plan)
    console.print(f"{plan}: the clock plans no more runs")


@asks("schedule slots")
async def _scheduled_slots(client: Client, *, plan: str, as_json: bool) -> None:
    await _slots(client, plan=plan, on=None, as_json=as_json)


# Decisions


@asks("decision list")
async def _list_decisions(client: Client, *, plan: str | None, as_json: bool) -> None:
    found = await _all(client.list_of_decisions(plan=plan))
    if as_json:
        print_json(found)
        return
    columns = {
        "decision": "decision_id", "plan": "plan", "what": "kind", "about": "subject", "effective on": "effective_on",
        "state": "state", "proposed by": "proposed_by", "decided by": "decided_by",
    }  # fmt: skip
    _show(found, columns)


@asks("decision show")
async def _show_decision(client: Client, *, number: int, as_json: bool) -> None:
    found = await client.show_decision(number)
    if as_json:
        print_json(found)
        return
    facts = {name: found[name] for name in ("subject", "effective_on", "state", "proposed_by", "decided_by")}
    title = f"Decision {number}: {found['kind']} of {found['plan']}"
    _facts(title, {**facts, **found["detail"], **(found["outcome"] or {})})


@asks("decision approve")
async def _approve_decision(client: Client, *, number: int) -> None:
    done = await client.approve_decision(number)
    came_to = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in (done["outcome"] or {}).items())
    console.print(f"decision {number}, {done['kind']} of {done['subject']}, is done: {came_to}", soft_wrap=True)


@asks("decision refuse")
async def _refuse_decision(client: Client, *, number: int, reason: str) -> None:
    done = await client.refuse_decision(number, reason)
    console.print(f"decision {number}, {done['kind']} of {done['subject']}, is refused by {done['decided_by']}")


# Books, and breaks with the custodian


@asks("ledger trial-balance")
async def _trial_balance(client: Client, *, plan: str | None, as_of: datetime | None, as_json: bool) -> None:
    codes = [plan] if plan else [each["plan"] async for each in client.pages("/v1/plans")]
    day = None if as_of is None else as_of.date()
    found = [await client.show_trial_balance(code, as_of=day) for code in codes]
    if as_json:
        print_json({"plans": found} if plan is None else found[0])
        return
    for balance in found:
        console.print(f"{balance['plan']}{f', as of {day}' if day else ''}")
        total = {"code": "", "name": "", "debit": balance["debit"], "credit": balance["credit"]}
        lines = [{**line, "code": str(line["code"])} for line in balance["lines"]]
        columns = {"code": "code", "account": "name", "debit": "debit", "credit": "credit"}
        _show([*lines, total], columns, right=("debit", "credit"))
        console.print(f"difference {balance['difference']}")


@asks("reconcile breaks")
async def _breaks(
    client: Client,
    *,
    custodian: str | None,
    plan: str | None,
    run: int | None,
    code: str | None,
    state: str | None,
    severity: str | None,
    age: object,
    mine: str | None,
    limit: int,
    after: int,
    on: object,
    as_json: bool,
) -> None:
    if on is not None:
        raise InvalidInput("the API tells of the breaks as of today; leave --on out, or ask where the database is")
    chosen = {"custodian": custodian, "plan": plan, "run_id": run, "code": code, "state": state, "severity": severity}
    chosen |= {"assigned_to": mine, "age": None if age is None else str(age).replace(" ", "")}
    from_here = {"after": after or None, "limit": min(limit, 500)}
    found = await _all(client.pages("/v1/breaks", chosen | from_here), limit)
    if as_json:
        print_json(found)
        return
    columns = {
        "break": "break_id", "code": "code", "run": "run_id", "seat": "seat", "age": "age", "severity": "severity",
        "state": "state", "whose": "assigned_to", "amount": "amount", "suspense": "suspense",
    }  # fmt: skip
    if not found:
        console.print("no break is so")
        return
    _show(found, columns, right=("amount", "suspense"))
    if len(found) == limit:
        console.print(f"more with --after {found[-1]['break_id']}")
