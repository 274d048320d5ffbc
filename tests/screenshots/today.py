"""What stands in the office on the morning it is looked at: what waits, what is under way, what went wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from engine.custodian.reference import Kind, Reference
from engine.runs.conductor import advance
from engine.runs.states import RunState
from tests.integration.bank_statement import Line, statement
from tests.integration.worlds import ONE
from tests.screenshots.month import BALANCES, BANK, MUTUAL, STAGES, TIERS, TODAY, Month
from tests.screenshots.office import Office
from tests.screenshots.pace import spread

POSTED, WORKING, FAILED = (1, 2, 3, 4, 5, 6), {7: "node-1:1", 9: "node-2:1"}, (8, 11)
"""Shards of the run under way, by their numbers; the others wait."""

ROSTER = """member_ref,born_on,joined_on
M9000001,1990-13-05,2019-08-01
M9000002,1988-02-11,2019-08-01
"""
FULL = "could not extend file: No space left on device"
YESTERDAY = TODAY - timedelta(days=1)
ON = {"on": str(TODAY)}


async def arrange(month: Month) -> None:
    """All of it, in the order of the morning."""
    await _bank_says(month)
    await _claims(month)
    await _runs(month)
    await _breaks(month.office)
    await _decisions(month)
    await _operations(month)
    await _jobs(month)
    await spread(month.office, await month.office.clock.set(TODAY, 10, 40))


async def _bank_says(month: Month) -> None:
    """A statement that somebody fetched by hand: what no member sent, what nobody asked for, what was taken back."""
    office, run_id = month.office, month.runs[MUTUAL, date(2019, 7, 28)]
    await office.clock.set(TODAY, 8, 12)

    def of(seat: int, run: int = run_id) -> str:
        return str(Reference(Kind.DEBIT, run, 1, seat))

    said = (
        Line(1_200_000_00, "PLATFORM ADVANCE 2019-08", "transfer"),
        Line(12_500_00, "互助基金 8月", "other"),
        Line(-8_56, of(211), "reversal"),
        Line(-8_56, of(65_540), "reversal"),
        Line(8_56, of(900_001)),
        Line(8_56, of(61, run=99)),
        Line(-35_00, "", "charge"),
        Line(64_18, "", "interest"),
        Line(310_00, "6222 0200 refund of a refund", "other"),
    )
    last = await office.sql(
        "SELECT closing_minor FROM statements JOIN custodians USING (custodian_id) WHERE code = :code"
        " AND state = 'taken' ORDER BY to_on DESC, statement_id DESC LIMIT 1", code=BANK,
    )  # fmt: skip
    query = f"custodians/{BANK}/statements?name=by-hand-2019-08-12.csv&on={TODAY}"
    await office.brings("sun.lei", query, statement([replace(each, on=TODAY) for each in said], int(last.scalar_one())))


async def _claims(month: Month) -> None:
    """Filed, under notice, objected to, rejected, withdrawn."""
    office = month.office
    for plan, yuan, days_ago in ((MUTUAL, 300_000, 3), (MUTUAL, 100_000, 1), (TIERS, 80_000, 2), (STAGES, 200_000, 0)):
        on = TODAY - timedelta(days=days_ago)
        await office.clock.set(on, 15, 30)
        await month.files(plan, yuan, on)
    await office.clock.set(TODAY - timedelta(days=4), 11)
    withdrawn = await month.files(MUTUAL, 50_000, TODAY - timedelta(days=4))
    said = {"on": str(YESTERDAY), "reason": "the hospital corrected the diagnosis; the member asks for nothing"}
    await office.clock.set(YESTERDAY, 17)
    await office.ask("li.wei", f"claims/{withdrawn}/withdraw", said)


async def _runs(month: Month) -> None:
    """One run waits for its approval; one is being posted, and two of its shards gave up."""
    office, world = month.office, month.worlds[BALANCES]
    await month.planned(MUTUAL, date(2019, 8, 14), TODAY)
    run_id = await month.planned(BALANCES, TODAY, TODAY)
    await month.approved(run_id, TODAY)
    engine = office.served.service.engine
    await advance(engine, run_id, freeze_hours=ONE.freeze_hours)
    run = await world.run(run_id)
    assert run.state is RunState.POSTING
    others = {number for number, _ in enumerate(await world.shards(), 1)} - set(POSTED)
    await world.set_shards(run, "failed", others)
    await month.works(run_id)
    await world.set_shards(run, "pending", others)
    for number, worker in WORKING.items():
        await office.sql(
            "UPDATE run_shards SET state = 'working', attempt = 1, worker = :worker, claimed_at = clock_timestamp(),"
            " lease_until = clock_timestamp() + interval '1 minute' WHERE run_id = :run AND shard_id = :shard",
            run=run_id, shard=world.shard(number), worker=worker,
        )  # fmt: skip
    await office.sql(
        "UPDATE run_shards SET state = 'failed', attempt = 5, failures = 5, worker = :worker, error = :error,"
        " finished_at = clock_timestamp() WHERE run_id = :run AND shard_id = ANY (:shards)",
        run=run_id, shards=[world.shard(number) for number in FAILED], worker="node-2:2", error=FULL,
    )  # fmt: skip


async def _breaks(office: Office) -> None:
    """Some are in somebody's hands, some are remarked on, some are proposed to be settled."""
    found = await office.sql(
        "SELECT breaks.code, array_agg(break_id ORDER BY break_id) FROM breaks JOIN custodians USING (custodian_id)"
        " WHERE state = 'open' AND custodians.code = :bank GROUP BY 1", bank=BANK,
    )  # fmt: skip
    ids = {code: list(each) for code, each in found}
    await office.clock.set(TODAY, 9, 5)
    for code, to, number in (("DUPLICATE_AT_BANK", "sun.lei", 5), ("MISSING_IN_LEDGER", "wang.fang", 5)):
        said = {"to": to, "breaks": {"ids": ids[code][:number]}}
        await office.ask("wang.fang", "breaks/selection/assign", said)
    first = ids["MISSING_IN_LEDGER"][0]
    await office.ask("wang.fang", f"breaks/{first}/comment", {"text": "asked the bank for the payer, ticket 40021"})
    await office.ask("sun.lei", f"breaks/{first}/comment", {"text": "the bank answers by Wednesday"})
    said = {
        "action": "give back", "reason": "booked twice on 27 July, as the bank confirms",
        "breaks": {"ids": ids["DUPLICATE_AT_BANK"][5:9]},
    }  # fmt: skip
    await office.ask("sun.lei", "breaks/selection/propose", said)


async def _decisions(month: Month) -> None:
    """What one person proposed and nobody decided; and one that was refused."""
    office = month.office
    run_id = month.runs[MUTUAL, date(2019, 7, 28)]
    await office.clock.set(TODAY, 9, 25)
    for settled in await month.settled():
        if settled not in month.paid:
            await office.ask("wang.fang", f"runs/{settled}/payouts", ON)
    wrong = {"reason": "had left before the notice; the plan learned of it late", "against": "sponsor"}
    seats = [{"seat": 65_536 + 300, "amount": "-2.10"}, {"seat": 131_072 + 310, "amount": "-2.10"}]
    await office.ask("wang.fang", f"runs/{run_id}/corrections", wrong | {"seats": seats})
    await office.may("sun.lei", f"plans/{BALANCES}/refunds", ON)
    locked = await office.may("sun.lei", f"plans/{TIERS}/periods/lock", {"through": "2019-07-31"})
    if locked is not None:
        said = {"reason": "the run of 25 July is not settled yet"}
        await office.ask("zhao.min", f"decisions/{locked['decision_id']}/refuse", said)
    await office.may("wang.fang", f"plans/{MUTUAL}/periods/lock", {"through": "2019-06-30"})


async def _operations(month: Month) -> None:
    """Workers, a queue that stands still, messages that were delivered and some that were not."""
    office = month.office
    now = await office.clock.set(TODAY, 10, 40)
    workers = (
        ("node-1:1", "node-1", 4121, 7, 412, 2, False), ("node-1:2", "node-1", 4122, None, 388, 5, False),
        ("node-2:1", "node-2", 9870, 9, 405, 1, False), ("node-2:2", "node-2", 9871, None, 377, 4, True),
        ("node-3:1", "node-3", 2210, None, 291, 260, False),
    )  # fmt: skip
    for worker, host, pid, number, mebibytes, seconds_ago, draining in workers:
        shard = None if number is None else month.worlds[BALANCES].shard(number)
        beat = now - timedelta(seconds=seconds_ago)
        await office.sql(
            "INSERT INTO workers (worker, host, pid, version, shard_id, memory_mib, draining, started_at, beat_at)"
            " VALUES (:worker, :host, :pid, '0.6.0', :shard, :mebibytes, :draining, :started, :beat)",
            worker=worker, host=host, pid=pid, shard=shard, mebibytes=mebibytes, draining=draining,
            started=now - timedelta(days=3, hours=pid % 7), beat=beat,
        )  # fmt: skip
    said = {"reason": "the platform renews its receiver until noon"}
    await office.ask("zhou.tao", "queues/webhooks/pause", said)
    before = now - timedelta(hours=4)
    await office.sql(
        "UPDATE deliveries SET state = 'delivered', tries = 1, ended_at = recorded_at + interval '1 s'"
        " FROM outbox WHERE outbox.message_id = deliveries.message_id AND recorded_at < :before", before=before,
    )  # fmt: skip
    for every, error in ((9, "the receiver answered 503"), (14, "nobody answered within 10 s")):
        await office.sql(
            "UPDATE deliveries SET state = 'failed', tries = 12, ended_at = ended_at + interval '9 hours',"
            " error = :error WHERE state = 'delivered' AND message_id % :every = 3", error=error, every=every,
        )  # fmt: skip


async def _jobs(month: Month) -> None:
    """Files that were refused, exports that are done, that failed and that wait."""
    office = month.office
    await office.clock.set(TODAY, 9, 50)
    await office.brings("li.wei", f"plans/{STAGES}/roster", ROSTER)
    for run, form in (((MUTUAL, date(2019, 7, 14)), "csv"), ((MUTUAL, date(2019, 7, 28)), "xlsx")):
        await office.ask("wang.fang", f"runs/{month.runs[run]}/exports", {"format": form})
    said = {"format": "csv", "first": "2019-07-01", "last": "2019-07-31"}
    await office.ask("sun.lei", f"custodians/{BANK}/exports", said)
    now = await office.clock.set(TODAY, 10, 31)
    for number, minutes in enumerate((52, 47, 33)):
        await office.sql(
            "INSERT INTO jobs (kind, subject, detail, asked_by, state, error, asked_at, started_at, ended_at, tries)"
            " VALUES ('export', :subject, :detail, 'sun.lei', 'failed', 'No space left on device', :at, :at, :at, 3)",
            subject=f"run:{number + 1}", detail=f'{{"run_id": {number + 1}, "format": "parquet"}}',
            at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    answer: Any = await office.people["wang.fang"].post(
        f"/v1/runs/{month.runs[STAGES, date(2019, 8, 9)]}/exports", {"format": "csv"}
    )
    assert answer.status == 202, answer.said
