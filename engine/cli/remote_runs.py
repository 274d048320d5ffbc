"""`fentan run` and `fentan schedule` through the API."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, time
from typing import cast

from engine.cli.answer import print_json
from engine.cli.asking import Commands, all_of, console, show_rows
from engine.cli.run_tables import drawing, print_preview, print_run, print_runs, say_where
from engine.client import Client
from engine.client.answers import Progress, Surplus
from engine.errors import InvalidInput

commands = Commands()

RUNS_MAX = 50
"""The latest runs that a list shows, as the command does on the database."""

_SINCE = ("sealed", "collecting", "settled", "closed")
_SUMS = ("money_in", "money_out", "ties")


@commands.asks("run plan")
async def _plan(
    client: Client, *, plan: str, debit_on: datetime, premiums: str | None, claims: str, costs: str
) -> None:
    surplus: Surplus | None = None if premiums is None else {"premiums": premiums, "claims": claims, "costs": costs}
    run = await client.plan_run(plan, debit_on.date(), surplus=surplus)
    number = run["run_id"]
    console.print(f"run {number} of {plan} is planned for {run['debit_on']}; `fentan run watch {number}`")


@commands.asks("run preview")
async def _preview(client: Client, *, run_id: int, as_json: bool) -> None:
    preview = await client.show_preview(run_id)
    if as_json:
        print_json(preview)
    else:
        print_preview(console, run_id, preview, preview["digest"])


@commands.asks("run approve")
async def _approve(client: Client, *, run_id: int, digest: str | None) -> None:
    run = await client.approve_run(run_id, digest or (await client.show_preview(run_id))["digest"])
    console.print(f"run {run_id} is approved by {run['approved_by']}; `fentan run watch {run_id}`")


@commands.asks("run watch")
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


@commands.asks("run pause")
async def _pause(client: Client, *, run_id: int) -> None:
    await client.pause_run(run_id)
    console.print(f"run {run_id} is paused")


@commands.asks("run resume")
async def _resume(client: Client, *, run_id: int) -> None:
    await client.resume_run(run_id)
    console.print(f"run {run_id} is going on")


@commands.asks("run retry")
async def _retry(client: Client, *, run_id: int) -> None:
    failed = (await client.show_progress(run_id))["shards_failed"]
    left = (await client.retry_run(run_id))["shards_failed"]
    console.print(f"{failed - left} failed shards of run {run_id} are due again")


@commands.asks("run void")
async def _void(client: Client, *, run_id: int, reason: str) -> None:
    console.print(f"run {run_id} is {(await client.void_run(run_id, reason))['state']}")


@commands.asks("run show")
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


@commands.asks("run list")
async def _list_runs(client: Client, *, plan: str | None, as_json: bool) -> None:
    runs = await all_of(client.list_of_runs(plan=plan), RUNS_MAX)
    if as_json:
        print_json(runs)
        return
    print_runs(console, [{"run": run["run_id"], "paused": run["is_paused"], **run} for run in runs])


@commands.asks("run slots")
async def _slots(client: Client, *, plan: str, on: datetime | None, as_json: bool) -> None:
    if on is not None:
        raise InvalidInput("the API tells of the slots as of today; leave --on out, or ask where the database is")
    slots = await all_of(client.list_of_slots(plan))
    if as_json:
        print_json(slots)
    else:
        columns = {"debit on": "debit_on", "state": "state", "claims": "claims", "run": "run_id", "it is": "run_state"}
        show_rows(slots, {**columns, "skipped by": "skipped_by", "why": "reason"}, right=("claims",))


@commands.asks("run skip")
async def _skip(client: Client, *, plan: str, debit_on: datetime, reason: str) -> None:
    slot = await client.skip_slot(plan, debit_on.date(), reason)
    console.print(
        f"{plan}: the slot of {slot['debit_on']} is skipped by {slot['skipped_by']}; "
        f"{slot['claims']:,} claims that waited for it go with the next run",
        soft_wrap=True,
    )


@commands.asks("schedule list")
async def _list_schedules(client: Client, *, as_json: bool) -> None:
    found = await all_of(client.list_of_schedules())
    if as_json:
        print_json(found)
        return
    columns = {
        "plan": "plan", "planned at": "plans_at", "set by": "set_by", "next slot": "next_slot",
        "missed": "missed_slots", "claims waiting": "claims_waiting", "last refusal": "refusal",
    }  # fmt: skip
    show_rows(found, columns, right=("missed", "claims waiting"))


@commands.asks("schedule set")
async def _set_schedule(client: Client, *, plan: str, at: time) -> None:
    made = await client.schedule_plan(plan, f"{at:%H:%M}")
    said = f"runs are planned at {made['plans_at']} of each debit day, in the name of {made['set_by']}"
    console.print(f"{plan}: {said}", soft_wrap=True)


@commands.asks("schedule end")
async def _end_schedule(client: Client, *, plan: str) -> None:
    await client.unschedule_plan(plan)
    console.print(f"{plan}: the clock plans no more runs")


@commands.asks("schedule slots")
async def _scheduled_slots(client: Client, *, plan: str, as_json: bool) -> None:
    await _slots(client, plan=plan, on=None, as_json=as_json)
