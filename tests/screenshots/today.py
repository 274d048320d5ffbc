"""What stands in the office on the morning it is looked at: what waits, what is under way, what went wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from importlib.metadata import version

from engine.custodian.reference import Kind, Reference
from engine.runs.conductor import advance
from engine.runs.states import RunState
from tests.integration.bank_statement import HEAD, Line, statement
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
ON = {"on": str(TODAY)}


async def arrange(month: Month) -> None:
    """All of it, in the order of the morning."""
    await month.office.clock.set(TODAY, 8, 5)
    await month.office.sign_in()
    await _bank_says(month)
    await _breaks(month.office)
    await _decisions(month)
    waiting = await _plan(month)
    await _jobs(month)
    await _operations(month)
    await _post(month, waiting)
    await spread(month.office, month.office.clock.moment)


async def _bank_says(month: Month) -> None:
    """A statement that somebody fetched by hand: what no member sent, what nobody asked for, what was taken back."""
    office, run_id = month.office, month.runs[MUTUAL, date(2019, 7, 28)]
    await office.clock.set(TODAY, 8, 12)
    charged = int((await month.worlds[MUTUAL].charged(await month.worlds[MUTUAL].run(run_id)))[0][211])
    missing = await office.sql(
        "SELECT seat, amount_minor FROM breaks WHERE code = 'MISSING_AT_BANK' AND state = 'open' AND run_id = :run"
        " ORDER BY break_id LIMIT 1", run=run_id,
    )  # fmt: skip
    late_seat, late = missing.one()

    def of(seat: int, run: int = run_id) -> str:
        return str(Reference(Kind.DEBIT, run, 1, seat))

    lost = of(late_seat)[:8]
    said = (
        Line(1_200_000_00, "PLATFORM ADVANCE 2019-08", "transfer"),
        Line(late, lost),
        Line(-charged, of(211), "reversal"),
        Line(-charged - 2_00, of(214), "reversal"),
        Line(charged, of(900_001)),
        Line(charged, of(61, run=99)),
        Line(-35_00, "", "charge"),
        Line(64_18, "", "interest"),
        Line(310_00, "return of a return", "other"),
    )
    last = await office.sql(
        "SELECT closing_minor FROM statements JOIN custodians USING (custodian_id) WHERE code = :code"
        " AND state = 'taken' ORDER BY to_on DESC, statement_id DESC LIMIT 1", code=BANK,
    )  # fmt: skip
    file = statement([replace(each, on=TODAY) for each in said], int(last.scalar_one()))
    # The bank names the payer of the line whose reference it lost.
    file = file.replace(HEAD, f"{HEAD},payer").replace(",1\n", ",1,\n")
    file = file.replace(f"{lost},,,debit,,,,1,", f"{lost},,,debit,,,,1,M{late_seat}")
    await office.brings("sun.lei", f"custodians/{BANK}/statements?name=by-hand-2019-08-12.csv&on={TODAY}", file)


async def _plan(month: Month) -> int:
    """Two runs are planned; the first waits for its approval, the number of the other is given."""
    await month.files(STAGES, 200_000, TODAY)
    await month.planned(MUTUAL, date(2019, 8, 14), TODAY)
    return await month.planned(BALANCES, TODAY, TODAY)


async def _post(month: Month, run_id: int) -> None:
    """A run is approved and being posted, and two of its shards gave up."""
    office, world = month.office, month.worlds[BALANCES]
    await office.clock.set(TODAY, 10, 39)
    await month.approved(run_id)
    now = await office.clock.set(TODAY, 10, 40)
    await advance(world.engine, run_id, freeze_hours=ONE.freeze_hours)
    run = await world.run(run_id)
    assert run.state is RunState.POSTING
    others = {number for number, _ in enumerate(await world.shards(), 1)} - set(POSTED)
    await world.set_shards(run, "failed", others)
    await month.works(run_id)
    await world.set_shards(run, "pending", others)
    for number, worker in WORKING.items():
        await office.sql(
            "UPDATE run_shards SET state = 'working', attempt = 1, worker = :worker, claimed_at = :claimed,"
            " lease_until = :until WHERE run_id = :run AND shard_id = :shard", run=run_id, shard=world.shard(number),
            worker=worker, claimed=now - timedelta(seconds=1), until=now + timedelta(minutes=1),
        )  # fmt: skip
    await office.sql(
        "UPDATE run_shards SET state = 'failed', attempt = 5, failures = 5, worker = :worker, error = :error,"
        " finished_at = :at WHERE run_id = :run AND shard_id = ANY (:shards)", run=run_id, worker="node-2:2",
        shards=[world.shard(number) for number in FAILED], error=FULL, at=now - timedelta(seconds=2),
    )  # fmt: skip


async def _breaks(office: Office) -> None:
    """Some are in somebody's hands, some are remarked on, some are proposed to be settled."""
    found = await office.sql(
        "SELECT breaks.code, array_agg(break_id ORDER BY break_id) FROM breaks JOIN custodians USING (custodian_id)"
        " WHERE state = 'open' AND custodians.code = :bank GROUP BY 1", bank=BANK,
    )  # fmt: skip
    ids = {code: list(each) for code, each in found}
    await office.clock.set(TODAY, 9, 5)
    for code, to, number in (("DUPLICATE_AT_BANK", "sun.lei", 5), ("MISSING_IN_LEDGER", "wang.fang", 3)):
        said = {"to": to, "breaks": {"ids": ids[code][:number]}}
        await office.ask("wang.fang", "breaks/selection/assign", said)
    late = await office.sql(
        "SELECT max(break_id) FROM breaks WHERE code = 'MISSING_IN_LEDGER' AND opened_on = :on"
        " AND amount_minor < 10000", on=TODAY,
    )  # fmt: skip
    first = late.scalar_one()
    await office.ask("wang.fang", f"breaks/{first}/assign", {"to": "wang.fang"})
    await office.ask(
        "wang.fang",
        f"breaks/{first}/comment",
        {"text": "the bank lost our reference, ticket 40021; it names the payer"},
    )
    await office.ask("sun.lei", f"breaks/{first}/comment", {"text": "the bank answers by Wednesday"})
    said = {
        "action": "give back", "reason": "booked twice, as the bank confirms",
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
    now = await office.clock.set(TODAY, 10, 12)
    said = {"reason": "the platform renews its receiver until noon"}
    await office.ask("zhou.tao", "queues/webhooks/pause", said)
    now += timedelta(minutes=28)
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
            " VALUES (:worker, :host, :pid, :version, :shard, :mebibytes, :draining, :started, :beat)",
            worker=worker, host=host, pid=pid, version=version("fentan"), shard=shard, mebibytes=mebibytes,
            draining=draining, started=now - timedelta(days=3, hours=pid % 7), beat=beat,
        )  # fmt: skip
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
    now = await office.clock.set(TODAY, 10, 2)
    for number, minutes in enumerate((22, 17, 3)):
        await office.sql(
            "INSERT INTO jobs (kind, subject, detail, asked_by, state, error, asked_at, started_at, ended_at, tries)"
            " VALUES ('export', :subject, :detail, 'sun.lei', 'failed', 'No space left on device', :at, :at, :at, 3)",
            subject=f"run:{number + 1}", detail=f'{{"run_id": {number + 1}, "format": "parquet"}}',
            at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    path = f"/v1/runs/{month.runs[STAGES, date(2019, 8, 9)]}/exports"
    waits = await office.people["wang.fang"].post(path, {"format": "csv"})
    assert waits.status == 202, waits.said
