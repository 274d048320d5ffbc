"""`fentan decision`, `ledger`, `reconcile` and `queue` through the API."""

from __future__ import annotations

from datetime import datetime

from engine.cli.answer import print_json
from engine.cli.asking import Commands, all_of, console, show_facts, show_rows
from engine.client import Client
from engine.client.answers import Pause
from engine.errors import InvalidInput

commands = Commands()


@commands.asks("decision list")
async def _list_decisions(client: Client, *, plan: str | None, as_json: bool) -> None:
    found = await all_of(client.list_of_decisions(plan=plan))
    if as_json:
        print_json(found)
        return
    columns = {
        "decision": "decision_id", "plan": "plan", "what": "kind", "about": "subject", "effective on": "effective_on",
        "state": "state", "proposed by": "proposed_by", "decided by": "decided_by",
    }  # fmt: skip
    show_rows(found, columns)


@commands.asks("decision show")
async def _show_decision(client: Client, *, number: int, as_json: bool) -> None:
    found = await client.show_decision(number)
    if as_json:
        print_json(found)
        return
    facts = {name: found[name] for name in ("subject", "effective_on", "state", "proposed_by", "decided_by")}
    title = f"Decision {number}: {found['kind']} of {found['plan']}"
    show_facts(title, {**facts, **found["detail"], **(found["outcome"] or {})})


@commands.asks("decision approve")
async def _approve_decision(client: Client, *, number: int) -> None:
    done = await client.approve_decision(number)
    came_to = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in (done["outcome"] or {}).items())
    console.print(f"decision {number}, {done['kind']} of {done['subject']}, is done: {came_to}", soft_wrap=True)


@commands.asks("decision refuse")
async def _refuse_decision(client: Client, *, number: int, reason: str) -> None:
    done = await client.refuse_decision(number, reason)
    console.print(f"decision {number}, {done['kind']} of {done['subject']}, is refused by {done['decided_by']}")


@commands.asks("ledger trial-balance")
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
        show_rows([*lines, total], columns, right=("debit", "credit"))
        console.print(f"difference {balance['difference']}")


@commands.asks("reconcile breaks")
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
    found = await all_of(client.pages("/v1/breaks", chosen | from_here), limit)
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
    show_rows(found, columns, right=("amount", "suspense"))
    if len(found) == limit:
        console.print(f"more with --after {found[-1]['break_id']}")


@commands.asks("queue list")
async def _list_queues(client: Client, *, as_json: bool) -> None:
    found = (await client.list_queues())["items"]
    if as_json:
        print_json(found)
        return
    rows = [
        {**each, **each["done"], "oldest": _seconds(each["oldest_seconds"]), "paused": _paused(each["pause"])}
        for each in found
    ]
    counts = {
        "waiting": "depth", "oldest": "oldest", "in hand": "in_flight", "failed": "failed", "done in 1 min": "minute",
        "5 min": "five_minutes", "1 h": "hour",
    }  # fmt: skip
    show_rows(rows, {"queue": "queue", **counts, "paused": "paused"}, right=tuple(counts))


@commands.asks("queue pause")
async def _pause_queue(client: Client, *, reason: str, queue: str | None, every: bool) -> None:
    _one_orall_of(queue, every=every)
    pauses = (await client.pause_all_queues(reason))["items"] if queue is None else []
    for each in pauses or [await client.pause_queue(str(queue), reason)]:
        console.print(f"{each['queue']} is paused: {_paused(each)}", soft_wrap=True)


@commands.asks("queue resume")
async def _resume_queue(client: Client, *, queue: str | None, every: bool) -> None:
    _one_orall_of(queue, every=every)
    pauses = (await client.resume_all_queues())["items"] if queue is None else []
    for each in pauses or [await client.resume_queue(str(queue))]:
        console.print(f"{each['queue']} is worked on")


@commands.asks("queue failures")
async def _failures(client: Client, *, queue: str, as_json: bool) -> None:
    groups = await all_of(client.pages(f"/v1/queues/{queue}/failures"))
    if as_json:
        print_json(groups)
        return
    for group in groups:
        console.print(f"{group['count']:,} × {group['error']}", soft_wrap=True)
        for item in group["samples"]:
            numbers = [f"{name.removesuffix('_id')} {number}" for name, number in item.items() if number is not None]
            console.print("    " + ", ".join(numbers))
    if not groups:
        console.print(f"nothing failed in {queue}")


@commands.asks("queue retry")
async def _retry_queue(
    client: Client,
    *,
    queue: str,
    reason: str,
    error: str | None,
    run: int | None,
    shard: int | None,
    batch: int | None,
    job: int | None,
    message: int | None,
    webhook: int | None,
) -> None:
    done = await client.retry_queue(
        queue, reason, error=error, run_id=run, shard_id=shard, batch_id=batch, job_id=job, message_id=message,
        webhook_id=webhook,
    )  # fmt: skip
    console.print(f"{done['retried']:,} of {queue} are due again")


@commands.asks("queue workers")
async def _workers(client: Client, *, as_json: bool) -> None:
    found = await all_of(client.list_of_workers())
    if as_json:
        print_json(found)
        return
    rows = [
        {
            **each,
            "heard": f"{_seconds(each['beat_age_seconds'])} ago",
            "how": "lost" if each["is_lost"] else "draining" if each["is_draining"] else "",
        }
        for each in found
    ]
    columns = {
        "worker": "worker", "version": "version", "started": "started_at", "last heard of": "heard",
        "shard": "shard_id", "MiB": "memory_mib", "": "how",
    }  # fmt: skip
    show_rows(rows, columns)


@commands.asks("queue drain")
async def _drain(client: Client, *, worker: str, reason: str) -> None:
    await client.drain_worker(worker, reason)
    console.print(f"{worker} ends after what it has in hand", soft_wrap=True)


def _one_orall_of(queue: str | None, *, every: bool) -> None:
    if (queue is None) != every:
        raise InvalidInput("name one queue, or --all")


def _seconds(seconds: int | None) -> str:
    return "" if seconds is None else f"{seconds:,} s"


def _paused(pause: Pause) -> str:
    """Who paused a queue, since when, and why; nothing while it is worked on."""
    return f"by {pause['paused_by']} at {pause['paused_at']}: {pause['reason']}" if pause["is_paused"] else ""
