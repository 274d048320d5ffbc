"""The client on a real API: what a scheduler, finance and ops do with it from one end to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from engine.access.roles import Role
from engine.client import ApiProblem, Client, Event, ProofBroken
from engine.jobs.doing import do_next
from engine.store.embedded import Embedded
from tests.integration.bank_statement import Line, statement
from tests.integration.reconciling import asked as calling
from tests.integration.worlds import DEBIT, World, alike, build, rules_of_preset
from tests.serving import Served, serving, settings_in

pytestmark = pytest.mark.integration


@asynccontextmanager
async def client_of(served: Served, role: Role, **how: float) -> AsyncIterator[Client]:
    async with Client(served.url, served.callers[role].token, **how) as client:
        yield client


@pytest.fixture
async def world(served: Served) -> World:
    """A plan of two shards."""
    return await build(served.service.engine, rules_of_preset(), alike(50), alike(40))


async def followed(client: Client, run_id: int) -> list[Event]:
    return [event async for event in client.follow_run(run_id)]


async def test_a_run_from_a_claim_to_its_proof(served: Served, world: World) -> None:
    async with client_of(served, Role.SCHEDULER) as anna, client_of(served, Role.APPROVER) as bo:
        assert (await anna.show_me())["name"] == "scheduler"
        claim = await anna.file_claim(world.plan.code, 3, "2019-06-01", on=date(2019, 7, 1), aid="300000.00")
        await anna.publish_claim(claim["claim_id"], on="2019-07-07")
        objection = await anna.object_to_claim(claim["claim_id"], "seen at work", on="2019-07-08")
        await anna.resolve_objection(claim["claim_id"], objection["number"], "it was another", on="2019-07-09")
        assert (await anna.pass_due_claims(world.plan.code, on="2019-07-10"))["passed"] == [claim["claim_id"]]
        record = await anna.show_claim(claim["claim_id"])
        assert (record["state"], [each["resolution"] for each in record["objections"]]) == (
            "passed",
            ["it was another"],
        )
        assert [each["claim_id"] async for each in anna.list_of_claims(state="passed")] == [claim["claim_id"]]

        run_id = (await anna.plan_run(world.plan.code, DEBIT))["run_id"]
        following = asyncio.create_task(followed(anna, run_id))
        await world.worked(await world.run(run_id))
        assert (await following)[-1].data["state"] == "previewed"
        preview = await bo.show_preview(run_id)
        with pytest.raises(ApiProblem, match="may not approve run") as refused:
            await anna.approve_run(run_id, preview["digest"])
        assert (refused.value.status, refused.value.kind) == (403, "forbidden")
        assert (await bo.approve_run(run_id, preview["digest"]))["approved_by"] == "approver"
        await anna.pause_run(run_id)
        assert (await anna.resume_run(run_id))["is_paused"] is False
        following = asyncio.create_task(followed(bo, run_id))
        await world.worked(await world.run(run_id))
        states = [event.data["state"] for event in await following if event.name == "state"]
        assert states[-1] == "sealed"
        outcome = await bo.show_outcome(run_id)
        assert outcome["totals"] is not None
        assert (outcome["totals"]["ties"], outcome["totals"]["money_in"]) == (True, outcome["totals"]["money_out"])

        proof = await anna.show_proof(world.plan.code, 7, run_id)
        assert proof["amount"] == preview["share"]
        assert [each["amount"] async for each in anna.show_member_statement(world.plan.code, 7)] == [preview["share"]]
        assert (await anna.show_trial_balance(world.plan.code))["difference"] == "0.00"
        assert [run["state"] async for run in anna.list_of_runs(plan=world.plan.code)] == ["sealed"]
        assert (await anna.void_run(run_id, "of a test"))["state"] == "voiding"


async def test_a_proof_that_does_not_hold_is_not_handed_on(
    served: Served, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.claim()
    run = await world.sealed()
    async with client_of(served, Role.VIEWER) as client:
        get = client.get

        async def forged(path: str, params: None = None) -> object:
            return await get(path, params) | {"amount": "0.01"}

        await client.show_proof(world.plan.code, 0, run.run_id)
        monkeypatch.setattr(client, "get", forged)
        with pytest.raises(ProofBroken):
            await client.show_proof(world.plan.code, 0, run.run_id)


async def test_a_statement_its_breaks_and_a_decision(served: Served, tmp_path: Path) -> None:
    files = served.service.desk.files
    files.mkdir(parents=True)
    world = await calling(served.service.engine, files, alike(4))
    file = tmp_path / "july.csv"
    file.write_text(statement((Line(10, world.reference(0)), Line(3_00, "nobody knows"))), "utf-8")
    async with client_of(served, Role.FINANCE) as fin, client_of(served, Role.APPROVER) as bo:
        job = await fin.upload_statement("generic-csv", file, on="2019-07-20")
        assert (await fin.upload_statement("generic-csv", file, on="2019-07-20"))["job_id"] >= job["job_id"]
        waiting = asyncio.create_task(fin.wait_for_job(job["job_id"]))
        service = served.service
        while await do_next(service.engine, service.settings, service.desk, now=datetime.now(UTC)):
            pass
        outcome = (await waiting)["outcome"]
        assert outcome is not None
        assert (outcome["lines"], outcome["statements"]) == (2, [1])
        assert [each["state"] async for each in fin.list_of_statements(custodian="generic-csv")] == ["taken"]
        assert (await fin.show_statement(1))["closing"] == "3.10"
        (unknown,) = [each async for each in fin.list_of_breaks(code="MISSING_IN_LEDGER")]
        counts = (await fin.count_of_breaks(custodian="generic-csv"))["counts"]
        assert {each["code"]: each["number"] for each in counts}["MISSING_IN_LEDGER"] == 1
        body = {"action": "give back", "reason": "of nobody", "target": {"seat": 1, "plan": world.run.plan_code}}
        proposed = await fin.post(f"/v1/breaks/{unknown['break_id']}/propose", body)
        assert (await fin.show_decision(proposed["decision_id"]))["state"] == "proposed"
        assert (await bo.approve_decision(proposed["decision_id"]))["decided_by"] == "approver"
        assert [each["state"] async for each in bo.list_of_decisions(state="proposed")] == []


async def test_queues_and_schedules(served: Served, world: World) -> None:
    async with client_of(served, Role.OPS) as olu, client_of(served, Role.SCHEDULER) as anna:
        assert (await olu.pause_queue("post", "the bank asked"))["paused_by"] == "ops"
        assert [each["queue"] for each in (await olu.list_queues())["items"] if each["pause"]["is_paused"]] == ["post"]
        assert (await olu.show_queue("post"))["depth"] == 0
        assert not (await olu.resume_queue("post"))["is_paused"]
        assert all(each["is_paused"] for each in (await olu.pause_all_queues("all of it"))["items"])
        assert not any(each["is_paused"] for each in (await olu.resume_all_queues())["items"])
        assert (await olu.retry_queue("measure", "again", run_id=7))["retried"] == 0
        assert [each async for each in olu.list_of_workers()] == []
        with pytest.raises(ApiProblem, match="nobody"):
            await olu.drain_worker("nobody", "of a test")

        assert (await anna.schedule_plan(world.plan.code, "09:00"))["set_by"] == "scheduler"
        assert [each["plan"] async for each in anna.list_of_schedules()] == [world.plan.code]
        assert (await anna.unschedule_plan(world.plan.code))["plans_at"] is None
        await world.claim()
        missed = [each["debit_on"] async for each in anna.list_of_slots(world.plan.code) if each["state"] == "missed"]
        assert (await anna.skip_slot(world.plan.code, missed[-1], "of a test"))["skipped_by"] == "scheduler"


async def test_who_asks_too_often_is_told_so(database_url: str, embedded: Embedded, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data", requests_per_minute=2)
    async with (
        serving(database_url, embedded.redis_url, settings) as served,
        client_of(served, Role.VIEWER, patience_seconds=0.2) as client,
    ):
        asked = [client.show_me() for _ in range(6)]  # a minute may end in between
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refusals = [each for each in answers if isinstance(each, ApiProblem)]
        assert {each.status for each in refusals} == {429}
        assert "more than 2 requests in a minute" in str(refusals[0])
