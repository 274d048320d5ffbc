"""Rosters over HTTP: uploaded, taken by a worker once, refused line by line without repeating anybody's data."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from engine.plans import PlanRules
from engine.roster.plan import register_plan
from tests.integration.api.asked import upload, worked
from tests.integration.prepaid import paying, prepaid
from tests.integration.worlds import rules_of_preset
from tests.serving import Served

pytestmark = pytest.mark.integration

HEADER = "member_ref,born_on,joined_on,account\n"
TWO = HEADER + "M-1,1980-01-01,2019-01-01,6222000011112222\nM-2,1985-05-05,2019-01-01,6222000011113333\n"
ROSTER = "/v1/plans/xianghubao/roster"


async def registered(served: Served, rules: PlanRules | None = None) -> None:
    async with served.service.engine.begin() as connection:
        await register_plan(connection, rules or rules_of_preset())


async def test_members_come_in_by_a_file(served: Served) -> None:
    await registered(served)
    answer = await upload(served.scheduler, ROSTER, TWO)
    assert (answer.status, answer.said["state"], answer.said["subject"]) == (202, "queued", "plan:xianghubao")
    assert answer.headers["Location"] == f"/v1/jobs/{answer.said['job_id']}"
    job = await worked(served, answer)
    assert (job["state"], job["outcome"], job["asked_by"]) == ("done", {"rows": 2, "repeated": False}, "scheduler")
    shards = (await served.viewer.get(ROSTER)).said["items"]
    assert [(each["number"], each["first_seat"], each["seats"], each["version"]) for each in shards] == [(1, 0, 2, 1)]
    [taken] = (await served.viewer.get("/v1/plans/xianghubao/imports")).said["items"]
    assert (taken["kind"], taken["rows"], taken["sha256"]) == ("roster", 2, job["detail"]["sha256"])
    data_dir = served.service.settings.data_dir
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []


async def test_changes_wait_for_the_next_run(served: Served) -> None:
    await registered(served)
    await worked(served, await upload(served.scheduler, ROSTER, TWO))
    changes = "kind,member_ref,from\nexit,M-1,2019-03-01\nexit,M-2,2019-03-01\n"
    job = await worked(served, await upload(served.scheduler, f"{ROSTER}?kind=changes", changes))
    assert job["outcome"] == {"rows": 2, "repeated": False}
    [shard] = (await served.viewer.get(ROSTER)).said["items"]
    assert (shard["version"], shard["changes_waiting"]) == (1, 2)
    imports = await served.viewer.get("/v1/plans/xianghubao/imports?limit=1")
    assert [each["kind"] for each in imports.said["items"]] == ["changes"]
    assert imports.headers["Link"] == f'<{imports.said["next"]}>; rel="next"'
    later = await served.viewer.get(imports.said["next"])
    assert ([each["kind"] for each in later.said["items"]], later.said["next"]) == (["roster"], None)


async def test_parquet_and_accounts(served: Served, tmp_path: Path) -> None:
    await registered(served)
    table = pa.table({"member_ref": ["M-1"], "born_on": ["1980-01-01"], "joined_on": ["2019-01-01"]})
    days = table.schema.set(1, pa.field("born_on", pa.date32())).set(2, pa.field("joined_on", pa.date32()))
    pq.write_table(table.cast(days), tmp_path / "roster")
    content = (tmp_path / "roster").read_bytes()
    job = await worked(served, await upload(served.scheduler, f"{ROSTER}?format=parquet", content))
    assert job["outcome"] == {"rows": 1, "repeated": False}
    accounts = "member_ref,account\nM-1,6222000011119999\n"
    for repeated in (False, True):
        job = await worked(served, await upload(served.scheduler, f"{ROSTER}?kind=accounts", accounts))
        assert job["outcome"] == {"rows": 1, "repeated": repeated}


async def test_what_is_refused_says_where_and_names_nobody(served: Served) -> None:
    await registered(served)
    wrong = TWO + "Zhang-3,soon,2019-01-01,6222000011114444\nZhang-4,1980-01-01,2019-01-01,=6222000011115555\n"
    answer = await upload(served.scheduler, ROSTER, wrong)
    job = await worked(served, answer)
    assert (job["state"], job["outcome"]) == ("failed", None)
    assert job["error"].startswith("roster.csv, line 4, born_on: is not a date; write it like 1985-04-23\n")
    assert "line 5, account: " in job["error"]
    assert (await served.viewer.get(ROSTER)).said["items"] == []
    async with served.service.engine.connect() as connection:
        for table in ("jobs", "audit_log", "idempotency_keys"):
            for row in await connection.execute(text(f"SELECT * FROM {table}")):
                assert "Zhang" not in str(row)
                assert "6222000011" not in str(row)


async def test_a_failed_one_is_retried(served: Served) -> None:
    await registered(served)
    changes = "kind,member_ref,from\nexit,M-1,2019-03-01\n"
    job = await worked(served, await upload(served.scheduler, f"{ROSTER}?kind=changes", changes))
    assert job["state"] == "failed"
    await worked(served, await upload(served.scheduler, ROSTER, TWO))
    path = f"/v1/jobs/{job['job_id']}"
    assert (await served.viewer.post(f"{path}/retry")).status == 403
    seen = (await served.viewer.get(path)).headers["ETag"]
    again = await served.ops.post(f"{path}/retry", If_Match=seen)
    assert (again.status, again.said["state"], again.said["error"]) == (200, "queued", None)
    assert (await served.ops.post(f"{path}/retry", If_Match=seen)).status == 412
    refused = await served.ops.post(f"{path}/retry")
    assert (refused.status, refused.said["detail"]) == (
        409,
        f"job {job['job_id']} is queued; only what failed is retried",
    )
    again_done = await worked(served, again._replace(status=202, headers={"Location": path}))
    assert (again_done["state"], again_done["outcome"]) == ("done", {"rows": 1, "repeated": False})


async def test_the_same_upload_again_is_one_job(served: Served) -> None:
    await registered(served)
    first = await upload(served.scheduler, ROSTER, TWO, Idempotency_Key="roster-of-january")
    again = await upload(served.scheduler, ROSTER, TWO, Idempotency_Key="roster-of-january")
    other = await upload(served.scheduler, ROSTER, TWO + "\n", Idempotency_Key="roster-of-january")
    assert (again.status, again.said, again.headers["Idempotent-Replayed"]) == (202, first.said, "true")
    assert other.status == 422
    assert [each["job_id"] for each in (await served.viewer.get("/v1/jobs")).said["items"]] == [first.said["job_id"]]
    assert list((served.service.settings.data_dir / "uploads").iterdir()) == []


async def test_many_at_once_come_in_once(served: Served) -> None:
    await registered(served)
    answers = await asyncio.gather(*(upload(served.scheduler, ROSTER, TWO) for _ in range(5)))
    jobs = [await worked(served, answer) for answer in answers]
    assert sorted(job["outcome"]["repeated"] for job in jobs) == [False, True, True, True, True]
    assert [each["seats"] for each in (await served.viewer.get(ROSTER)).said["items"]] == [2]


async def test_who_may_and_what_must_come_with_it(served: Served) -> None:
    await registered(served)
    for caller in (served.viewer, served.finance, served.ops, served.approver):
        assert (await upload(caller, ROSTER, TWO)).status == 403
    assert (await upload(served.scheduler, f"{ROSTER}?kind=top-ups", TWO)).status == 422
    assert (await upload(served.scheduler, "/v1/plans/nobody/roster", TWO)).status == 404
    assert (await upload(served.scheduler, ROSTER, TWO, Content_Type="text/csv")).status == 415
    no_key = await served.scheduler.send("POST", ROSTER, data=b"", headers={"Content-Type": "application/octet-stream"})
    assert no_key.status == 400
    assert (await upload(served.scheduler, "/v1/plans/xianghubao/top-ups", TWO)).status == 403
    assert (await served.viewer.get("/v1/jobs")).said["items"] == []


async def test_top_ups_are_taken_once(served: Served) -> None:
    await paying(served.service.engine, [500, 700])
    path = f"/v1/plans/{prepaid().code}/top-ups"
    top_ups = "member_ref,amount,paid_on\nM0,12.50,2019-07-01\nM1,7.50,2019-07-01\n"
    job = await worked(served, await upload(served.finance, path, top_ups))
    assert job["outcome"] == {"rows": 2, "repeated": False, "amount": "20.00"}
    job = await worked(served, await upload(served.finance, path, top_ups))
    assert job["outcome"] == {"rows": 2, "repeated": True, "amount": "0.00"}


async def test_jobs_are_filtered_and_paged(served: Served) -> None:
    await registered(served)
    await worked(served, await upload(served.scheduler, ROSTER, TWO))
    waiting = await upload(served.scheduler, f"{ROSTER}?kind=accounts", TWO)
    listed = await served.viewer.get("/v1/jobs?limit=1")
    assert [each["job_id"] for each in listed.said["items"]] == [waiting.said["job_id"]]
    later = await served.viewer.get(listed.said["next"])
    assert [each["kind"] for each in later.said["items"]] == ["roster"]
    queued = await served.viewer.get("/v1/jobs?state=queued&kind=accounts")
    assert [each["job_id"] for each in queued.said["items"]] == [waiting.said["job_id"]]
    assert (await served.viewer.get("/v1/jobs?state=queued&kind=roster")).said["items"] == []
    assert (await served.viewer.get("/v1/jobs/99")).status == 404
    assert (await served.viewer.get("/v1/jobs?state=sleeping")).status == 422
