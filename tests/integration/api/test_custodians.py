"""Custodians, debit batches and exports over HTTP."""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientError

from engine.custodian.desk import Desk
from tests.integration.api.asked import upload, worked
from tests.integration.bank_statement import Line, statement
from tests.integration.held import KEY, profile_of, sealed
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import alike, build, rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

BANK = "/v1/custodians/generic-csv"
ON = {"on": "2019-07-13"}


def folder(served: Served) -> Path:
    """Where the custodians' files lie."""
    files = served.service.desk.files
    files.mkdir(parents=True, exist_ok=True)
    return files


async def world_of(served: Served, **how: Any) -> Asked:
    return await asked(served.service.engine, folder(served), alike(4), **how)


async def test_a_custodian_is_registered_and_holds_a_plan(served: Served) -> None:
    await build(served.service.engine, rules_of_preset(), alike(1))
    assert (await served.finance.post("/v1/custodians", {"custodian": "nobody"})).status == 404
    answer = await served.finance.post("/v1/custodians", {"custodian": "generic-csv"})
    assert (answer.status, answer.headers["Location"]) == (201, BANK)
    seen = await served.viewer.get(BANK)
    assert seen.said["limits"] == {
        "max_items_per_file": 1_000_000,
        "max_bytes": 64_000_000,
        "files_per_hour": 60,
        "cut_off": "18:00",
        "lead_days": 0,
    }
    assert (seen.said["books_from"], seen.said["plans"], seen.said["reached_by"]) == ("csv", [], "folder")
    assert seen.said["reasons"]["AM04"] == {"means": "insufficient_funds", "retry": "yes"}
    assert "CUSTODIAN_" not in str(seen.said)
    held = await served.finance.post(f"{BANK}/assign", {"plan": "xianghubao"}, If_Match=seen.headers["ETag"])
    assert (held.status, held.said["plans"]) == (200, ["xianghubao"])
    stale = await served.finance.post(f"{BANK}/assign", {"plan": "xianghubao"}, If_Match=seen.headers["ETag"])
    assert stale.status == 412
    await served.finance.post("/v1/custodians", {"custodian": "alipay"})
    other = await served.finance.post("/v1/custodians/alipay/assign", {"plan": "xianghubao"})
    assert (other.status, "another custodian holds the money" in other.said["detail"]) == (409, True)
    listed = await served.viewer.get("/v1/custodians?limit=1")
    assert [each["custodian"] for each in listed.said["items"]] == ["alipay"]
    later = await served.viewer.get(listed.said["next"])
    assert [each["custodian"] for each in later.said["items"]] == ["generic-csv"]


async def test_who_may(served: Served) -> None:
    await build(served.service.engine, rules_of_preset(), alike(1))
    for caller in (served.viewer, served.scheduler, served.ops, served.approver):
        assert (await caller.post("/v1/custodians", {"custodian": "generic-csv"})).status == 403
        assert (await caller.post(f"{BANK}/day", ON)).status == 403
        assert (await caller.get("/v1/batches/1/file")).status == 403
        assert (await upload(caller, f"{BANK}/statements", "")).status == 403
    assert (await served.finance.post(f"{BANK}/day", ON)).status == 404


async def test_coverage(served: Served) -> None:
    world = await world_of(served)
    assert (await served.viewer.get(f"{BANK}/coverage")).said["first_on"] is None
    await world.takes(Line(10, world.reference(0)))
    found = (await served.viewer.get(f"{BANK}/coverage")).said
    assert (found["first_on"], found["last_on"], found["parked"]) == ("2019-07-15", "2019-07-15", 0)
    assert found["missing"][0] == "2019-07-16"
    assert found["days_missing"] > len(found["missing"]) == 366


async def test_no_day_is_missing_before_it_is_over(served: Served) -> None:
    world = await world_of(served)
    yesterday = datetime.now(ZoneInfo("Asia/Shanghai")).date() - timedelta(days=1)
    for on, missing in ((yesterday - timedelta(days=7), 5), (yesterday, 0)):
        opening = 0 if missing else 10
        await world.takes(Line(10, "nobody", on=on), opening=opening, on=yesterday)
        found = (await served.viewer.get(f"{BANK}/coverage")).said
        assert (found["last_on"], found["days_missing"]) == (on.isoformat(), missing)


async def test_a_run_is_instructed_and_its_files_sent(served: Served) -> None:
    desk = Desk(folder(served), KEY, {})
    profile = profile_of(limits={"max_items_per_file": 2})
    _, run, _ = await sealed(served.service.engine, alike(4), profile=profile)
    assert (await served.viewer.post(f"/v1/runs/{run.run_id}/instruct", ON)).status == 403
    answer = await served.scheduler.post(f"/v1/runs/{run.run_id}/instruct", ON)
    job = await worked(served, answer)
    assert job["outcome"] == {
        "run_id": run.run_id, "kind": "debit", "attempt": 1, "debit_on": "2019-07-14",
        "files": 2, "instructions": 4, "amount": "0.40",
    }  # fmt: skip
    assert (await worked(served, await served.finance.post(f"/v1/runs/{run.run_id}/instruct", ON)))["outcome"] == job[
        "outcome"
    ]
    waiting = (await served.viewer.get(f"{BANK}/batches?state=waiting")).said["items"]
    assert [(each["number"], each["kind"], each["count"], each["total"]) for each in waiting] == [
        (2, "debit", 2, "0.20"), (1, "debit", 2, "0.20"),
    ]  # fmt: skip
    job = await worked(served, await served.finance.post(f"{BANK}/send", ON))
    assert (job["outcome"]["files"], job["outcome"]["waiting"]) == (2, 0)
    assert (await served.viewer.get(f"{BANK}/batches?state=waiting")).said["items"] == []
    assert len(list(desk.folder("generic-csv", "out").glob("*.csv"))) == 2
    first = await served.viewer.get(f"{BANK}/batches?limit=1&run_id={run.run_id}")
    second = await served.viewer.get(first.said["next"])
    assert (first.said["items"][0]["subject"], second.said["next"]) == (run.name, None)
    assert second.said["items"] == [(await served.viewer.get("/v1/batches/1")).said]
    assert (await served.viewer.get(f"{BANK}/batches?run_id=99")).said["items"] == []
    assert (await served.viewer.get(f"{BANK}/batches?kind=levy")).said["items"] == []


async def test_a_file_that_missed_its_day_is_withdrawn(served: Served) -> None:
    world, run, _ = await sealed(served.service.engine, alike(2), profile=profile_of())
    await worked(served, await served.scheduler.post(f"/v1/runs/{run.run_id}/instruct", ON))
    assert (await served.finance.post(f"{BANK}/withdraw", ON)).said == {"files": 0}
    assert (await served.finance.post(f"{BANK}/withdraw", {"on": "2999-01-01"})).status == 409
    assert (await served.finance.post(f"{BANK}/withdraw", {})).said == {"files": 1}
    batch = (await served.viewer.get("/v1/batches/1")).said
    assert (batch["state"], batch["sent_at"]) == ("withdrawn", None)
    withdrawn = "SELECT actor, subject FROM audit_log WHERE act = 'withdraw files' AND subject LIKE 'custodian:%'"
    assert await world.rows(withdrawn) == [("finance", "custodian:generic-csv")]


async def test_a_file_of_debits_is_handed_out_to_finance_and_written_down(served: Served) -> None:
    world = await world_of(served)
    batch = (await served.viewer.get("/v1/batches/1")).said
    answer = await served.finance.get("/v1/batches/1/file")
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{batch["file"]}"'
    assert answer.headers["X-Content-SHA256"] == batch["sha256"] == hashlib.sha256(answer.said).hexdigest()
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(list(csv.reader(io.StringIO(answer.said.decode())))) == 5
    taken = await world.world.rows("SELECT actor, subject FROM audit_log WHERE act = 'download file'")
    assert taken == [("finance", "batches/1")]
    (folder(served) / "generic-csv" / "debits" / batch["file"]).write_bytes(b"cut")
    broken = await served.finance.get("/v1/batches/1/file")
    assert (broken.status, "restore it from a backup" in broken.said["detail"]) == (409, True)
    assert (await served.finance.get("/v1/batches/99/file")).status == 404


async def test_a_custodians_day(served: Served) -> None:
    """A statement and a file that nobody can read lie ready: one is taken, the other waits for a person."""
    world = await world_of(served)
    ready = folder(served) / "generic-csv" / "in"
    ready.mkdir(parents=True, exist_ok=True)
    (ready / "1.csv").write_text(statement([Line(10, world.reference(seat)) for seat in range(3)]), "utf-8")
    (ready / "2-6222000011112222.txt").write_text("nothing that anybody knows\n", "utf-8")
    job = await worked(served, await served.finance.post(f"{BANK}/day", {"on": "2019-07-20"}))
    outcome = job["outcome"]
    assert (job["state"], outcome["files"], outcome["taken"], outcome["lines"]) == ("done", 2, 1, 3)
    [refused] = outcome["need_a_person"]
    assert (refused["file"], refused["parked"]) == ("2-…2222.txt", [])
    assert refused["refused"].startswith("line 1: is neither XML nor MT940")
    assert [(each["run_id"], each["missing"]) for each in outcome["runs"]] == [(world.run.run_id, 1)]
    assert outcome["sent"] == {"files": 0, "instructions": 0, "amount": "0.00", "failed": 0, "waiting": 0, "missed": 0}


async def test_an_export_is_written_and_handed_out(served: Served) -> None:
    world = await world_of(served)
    await world.takes(Line(10, world.reference(0)), Line(3_00, "who is this"))
    answer = await served.finance.post(f"/v1/runs/{world.run.run_id}/exports", {"format": "csv"})
    files = f"/v1/exports/{answer.said['job_id']}/files"
    waits = await served.viewer.get(files)
    assert (waits.status, waits.said["detail"].startswith("the export 1 is queued")) == (409, True)
    assert (await worked(served, answer))["state"] == "done"
    held = (await served.viewer.get(files)).said
    assert (held["about"], [each["table"] for each in held["tables"]][:2]) == (
        f"run {world.run.run_id}",
        ["summary", "breaks"],
    )
    for each in held["files"]:
        file = await served.finance.get(f"{files}/{each['name']}")
        assert hashlib.sha256(file.said).hexdigest() == each["sha256"] == file.headers["X-Content-SHA256"]
        assert len(file.said) == each["bytes"]
    assert (await served.viewer.get(f"{files}/summary.csv")).status == 403
    assert (await served.finance.get(f"{files}/manifest.json")).status == 404
    assert (await served.finance.get(f"{files}/..%2F..%2Fsettings")).status == 422


async def test_an_account_is_exported_over_days(served: Served) -> None:
    world = await world_of(served)
    await world.takes(Line(10, world.reference(0)))
    days = {"first": "2019-07-14", "last": "2019-07-16"}
    backwards = await served.finance.post(f"{BANK}/exports", {"first": days["last"], "last": days["first"]})
    assert backwards.status == 409
    answer = await served.finance.post(f"{BANK}/exports", days | {"format": "parquet"})
    await worked(served, answer)
    held = (await served.viewer.get(f"/v1/exports/{answer.said['job_id']}/files")).said
    assert {each["table"]: each["rows"] for each in held["tables"]}["summary"] == 3
    upload_job = await upload(served.finance, f"{BANK}/statements", "x")
    assert (await served.viewer.get(f"/v1/exports/{upload_job.said['job_id']}/files")).status == 404


async def test_a_run_that_is_not_there(served: Served) -> None:
    assert (await served.finance.post("/v1/runs/7/exports", {})).status == 404
    assert (await served.scheduler.post("/v1/runs/7/instruct", {})).status == 404


async def test_half_a_file_does_not_look_like_a_whole_one(served: Served) -> None:
    """The service ends in the middle of a download: the connection breaks off."""
    await world_of(served)
    served.service.closing.set()
    with pytest.raises(ClientError):
        await served.finance.get("/v1/batches/1/file")
