"""What each kind of job does, by the function that the command line uses too; its outcome in counts, money as text."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.desk import Desk
from engine.custodian.registered import Custodian, custodian_of
from engine.errors import FentanError, InvalidInput
from engine.jobs.job import Job, Kind, folder_of
from engine.members.deposits import open_deposits, take_top_ups
from engine.money import to_major
from engine.reconcile.day import CustodianDay, File, play_day, send_waiting
from engine.reconcile.exports.contents import tables_of_account, tables_of_run
from engine.reconcile.exports.folder import Format, export
from engine.reconcile.instructing import Asking, instruct
from engine.reconcile.sending import Sent
from engine.reconcile.taking import Taken, take
from engine.roster.accounts import change_accounts
from engine.roster.change_files import change_roster
from engine.roster.imports import Imported, import_roster
from engine.roster.plan import Plan, newest_rules, plan_of
from engine.runs.run import load_run
from engine.settings import Settings

NAMED_MOST = 100
"""Of what an outcome names one by one, so many at most."""

Outcome = Mapping[str, Any]


@dataclass(frozen=True)
class InHand:
    """A job in a worker's hand. What is done on `connection` is committed together with the job's outcome."""

    engine: AsyncEngine
    connection: AsyncConnection
    settings: Settings
    desk: Desk
    job: Job
    now: datetime

    @property
    def file(self) -> Path:
        """Where its file lies. Raises InvalidInput when that is gone."""
        path = folder_of(self.settings.data_dir, self.job.job_id) / str(self.job.detail["file"])
        if not path.is_file():
            raise InvalidInput(f"{path.name}: is not among the kept files any more; upload it again")
        return path

    @property
    def tag_key(self) -> bytes:
        """Makes what stands for members in proofs."""
        return self.settings.member_tag_key.get_secret_value().encode()

    async def plan(self) -> Plan:
        """The plan it is about."""
        return await plan_of(self.connection, self.job.detail["plan"])

    async def custodian(self) -> Custodian:
        """The custodian it is about."""
        return await custodian_of(self.connection, self.job.detail["custodian"])

    def moment(self, time_zone: str) -> datetime:
        """Now, or the first moment of the day it is to be done as on."""
        zone, on = ZoneInfo(time_zone), self.job.detail.get("on")
        return self.now.astimezone(zone) if on is None else datetime.combine(date.fromisoformat(on), time(), zone)

    def is_over(self, moment: datetime) -> bool:
        """Whether it is of a day that is over there: only then is it known what may leave in each of its hours."""
        return moment.date() < self.now.astimezone(moment.tzinfo).date()


async def _roster(hand: InHand) -> Outcome:
    imported = await import_roster(
        hand.connection,
        await hand.plan(),
        hand.file,
        tag_key=hand.tag_key,
        take_deposits=open_deposits,
        account_key=hand.settings.account_key,
    )
    return _imported(imported)


async def _changes(hand: InHand) -> Outcome:
    return _imported(await change_roster(hand.connection, await hand.plan(), hand.file, tag_key=hand.tag_key))


def _imported(imported: Imported) -> Outcome:
    return {"rows": imported.rows, "repeated": imported.repeated}


async def _accounts(hand: InHand) -> Outcome:
    key, actor = hand.settings.account_key, hand.job.asked_by
    changed = await change_accounts(hand.connection, await hand.plan(), hand.file, account_key=key, actor=actor)
    return {"rows": changed.members, "repeated": changed.shards == 0}


async def _top_ups(hand: InHand) -> Outcome:
    plan = await hand.plan()
    on = hand.moment((await newest_rules(hand.connection, plan.plan_id)).time_zone).date()
    taken = await take_top_ups(hand.connection, plan, hand.file, on=on, actor=hand.job.asked_by)
    return {"rows": taken.top_ups, "repeated": taken.repeated, "amount": to_major(taken.amount_minor)}


async def _statement(hand: InHand) -> Outcome:
    custodian = await hand.custodian()
    try:
        taken = await take(
            hand.engine,
            custodian,
            hand.file,
            files=hand.desk.files,
            actor=hand.job.asked_by,
            on=hand.moment(custodian.profile.time_zone).date(),
            environment=hand.desk.environment,
            begins=hand.job.detail.get("begins", False),
        )
    except FentanError as error:
        error.args = (_without_numbers(str(error)),)
        raise
    return _statements(taken)


def _statements(taken: Iterable[Taken]) -> Outcome:
    found = list(taken)
    states = Counter(each.state for each in found)
    return {
        **{state: states[state] for state in ("taken", "parked", "repeated")},
        "lines": sum(each.lines for each in found),
        "statements": [each.statement_id for each in found[:NAMED_MOST]],
    }


_LONG_NUMBER = re.compile("[0-9]{8,}(?=[0-9]{4})")


def _without_numbers(text: str) -> str:
    """What a reader shows of a broken file may be the number of an account: all but its last four digits go."""
    return _LONG_NUMBER.sub("…", text)


async def _day(hand: InHand) -> Outcome:
    custodian = await hand.custodian()
    now = hand.moment(custodian.profile.time_zone)
    done = await play_day(hand.engine, custodian, hand.desk, on=now.date(), now=now, actor=hand.job.asked_by)
    sent = await send_waiting(hand.engine, custodian, hand.desk, now=now, whole_day=hand.is_over(now))
    return {**_played(done), "sent": _sent(sent)}


def _played(done: CustodianDay) -> Outcome:
    return {
        "files": len(done.files),
        "need_a_person": [_file(each) for each in done.files if each.needs_a_person][:NAMED_MOST],
        **_statements(taken for file in done.files for taken in file.statements),
        "overdue_lines": done.overdue_lines,
        "runs": [
            {
                "run_id": each.run_id,
                "state": each.state.value,
                "missing": each.missing,
                "asked": None if each.asked is None else _asked(each.asked),
                "written_off": to_major(each.unpaid.written_off.amount_minor),
            }
            for each in done.collected.runs[:NAMED_MOST]
        ],
        "called": [_asked(each) for each in done.collected.called[:NAMED_MOST]],
        "missing_beside_runs": done.collected.missing,
    }


def _file(file: File) -> Outcome:
    refused = _without_numbers(file.refused)
    parked = [each.statement_id for each in file.statements if each.state == "parked"]
    return {"file": _without_numbers(file.name), "refused": refused or None, "parked": parked[:NAMED_MOST]}


def _asked(asking: Asking) -> Outcome:
    return {
        "run_id": asking.run_id,
        "kind": asking.kind.name.lower(),
        "attempt": asking.attempt,
        "debit_on": asking.debit_on.isoformat(),
        "files": asking.batches,
        "instructions": asking.instructions,
        "amount": to_major(asking.amount_minor),
    }


async def _instruct(hand: InHand) -> Outcome:
    run = await load_run(hand.connection, hand.job.detail["run_id"])
    now = hand.moment((await newest_rules(hand.connection, run.plan_id)).time_zone)
    asking = await instruct(hand.connection, run.run_id, hand.desk, on=now.date(), now=now, actor=hand.job.asked_by)
    return _asked(asking)


async def _send(hand: InHand) -> Outcome:
    custodian = await hand.custodian()
    now = hand.moment(custodian.profile.time_zone)
    return _sent(await send_waiting(hand.engine, custodian, hand.desk, now=now, whole_day=hand.is_over(now)))


def _sent(sent: Sent) -> Outcome:
    return {
        "files": sent.files,
        "instructions": sent.instructions,
        "amount": to_major(sent.amount_minor),
        "failed": sent.failed,
        "waiting": sent.waiting,
        "missed": sent.missed,
    }


def export_folder(data_dir: Path, job_id: int) -> Path:
    """Where an export's files lie."""
    return data_dir / "exports" / str(job_id)


async def _export(hand: InHand) -> Outcome:
    detail, folder = hand.job.detail, export_folder(hand.settings.data_dir, hand.job.job_id)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # what a killed worker left
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with hand.engine.connect() as connection:
        # All of it as it was at one moment.
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        if "run_id" in detail:
            what, tables = f"run {detail['run_id']}", await tables_of_run(connection, detail["run_id"])
        else:
            first, last = (date.fromisoformat(detail[name]) for name in ("first", "last"))
            what = f"{detail['custodian']} from {first} to {last}"
            tables = await tables_of_account(connection, await hand.custodian(), first, last)
        return await export(tables, folder, what, Format(detail["format"]))


DOES: Mapping[Kind, Callable[[InHand], Awaitable[Outcome]]] = {
    Kind.ROSTER: _roster,
    Kind.CHANGES: _changes,
    Kind.ACCOUNTS: _accounts,
    Kind.TOP_UPS: _top_ups,
    Kind.STATEMENT: _statement,
    Kind.DAY: _day,
    Kind.INSTRUCT: _instruct,
    Kind.SEND: _send,
    Kind.EXPORT: _export,
}
