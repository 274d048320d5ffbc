"""The client: a method for each operation that schedulers, finance and ops need, named as in the specification.

What has no method is a `get`, `post`, `pages` or `download` away. Amounts are decimal text in major units.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from datetime import date
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from engine.client.answers import (
    Break,
    BreakCounts,
    Claim,
    ClaimRecord,
    Decision,
    Draining,
    Job,
    Me,
    Member,
    Objection,
    Outcome,
    Passed,
    Pause,
    Preview,
    Progress,
    Proof,
    Queue,
    QueuePauses,
    Queues,
    Retried,
    Run,
    Schedule,
    Slot,
    Spells,
    Standing,
    Statement,
    StatementEntry,
    Surplus,
    TrialBalance,
    Worker,
)
from engine.client.problems import JobFailed, ProofBroken
from engine.client.proof import proof_holds
from engine.client.transport import Event, Transport

JOB_LOOK_SECONDS = 0.5
Day = date | str

A = TypeVar("A")
Answer = Coroutine[Any, Any, A]
"""What a method is awaited for."""


class Client(Transport):
    """Somebody's access to one API: `async with Client(url, token) as client`.

    Every method raises ApiProblem when the API refuses, and Unreachable when it does not answer for
    `patience_seconds`. A list is read page by page, as its items are taken.
    """

    async def __aenter__(self) -> Self:
        """Nothing is asked yet."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Every connection is let go."""
        await self.close()

    def show_me(self) -> Answer[Me]:
        """Whose token this is, and what it may."""
        return self.get("/v1/me")

    # Runs

    def list_of_runs(self, *, plan: str | None = None, state: str | None = None) -> AsyncIterator[Run]:
        """Runs, newest first."""
        return self.pages("/v1/runs", {"plan": plan, "state": state})

    def show_run(self, run_id: int) -> Answer[Run]:
        """One run."""
        return self.get(f"/v1/runs/{run_id}")

    def show_preview(self, run_id: int) -> Answer[Preview]:
        """What a run would charge, and the digest that an approval names."""
        return self.get(f"/v1/runs/{run_id}/preview")

    def show_outcome(self, run_id: int) -> Answer[Outcome]:
        """What a run came to."""
        return self.get(f"/v1/runs/{run_id}/outcome")

    def show_progress(self, run_id: int) -> Answer[Progress]:
        """How far a run is."""
        return self.get(f"/v1/runs/{run_id}/progress")

    def follow_run(self, run_id: int) -> AsyncGenerator[Event, None]:
        """`state` and `progress` of a run, each with a Progress, until it rests; a stream that breaks is taken up."""
        return self.events(f"/v1/runs/{run_id}/events", until="rests")

    def plan_run(self, plan: str, debit_on: Day, *, surplus: Surplus | None = None) -> Answer[Run]:
        """Plan a run of the claims that wait; with a surplus, one that gives it to the members."""
        return self.post("/v1/runs", {"plan": plan, "debit_on": str(debit_on), "surplus": surplus})

    def approve_run(self, run_id: int, digest: str) -> Answer[Run]:
        """Approve just the preview that was seen."""
        return self.post(f"/v1/runs/{run_id}/approve", {"digest": digest})

    def pause_run(self, run_id: int) -> Answer[Run]:
        """Let workers finish the shards in hand and take no other."""
        return self.post(f"/v1/runs/{run_id}/pause")

    def resume_run(self, run_id: int) -> Answer[Run]:
        """Let workers go on."""
        return self.post(f"/v1/runs/{run_id}/resume")

    def retry_run(self, run_id: int) -> Answer[Progress]:
        """Give the failed shards of a run a new set of attempts."""
        return self.post(f"/v1/runs/{run_id}/retry")

    def void_run(self, run_id: int, reason: str) -> Answer[Run]:
        """Drop a run that posted nothing, reverse one that did."""
        return self.post(f"/v1/runs/{run_id}/void", {"reason": reason})

    # Schedules

    def list_of_schedules(self) -> AsyncIterator[Standing]:
        """Every plan that the clock plans for."""
        return self.pages("/v1/schedules")

    def list_of_slots(self, plan: str) -> AsyncIterator[Slot]:
        """What became of each debit day."""
        return self.pages(f"/v1/schedules/{plan}/slots")

    def schedule_plan(self, plan: str, plans_at: str) -> Answer[Schedule]:
        """Let the clock plan a plan's runs at a time of its debit days, such as 09:00."""
        return self.post(f"/v1/schedules/{plan}", {"plans_at": plans_at})

    def unschedule_plan(self, plan: str) -> Answer[Schedule]:
        """Let the clock plan no more."""
        return self.post(f"/v1/schedules/{plan}/end")

    def skip_slot(self, plan: str, debit_on: Day, reason: str) -> Answer[Slot]:
        """Let a debit day go without a run."""
        return self.post(f"/v1/schedules/{plan}/skip", {"debit_on": str(debit_on), "reason": reason})

    # Members and claims

    def find_member(self, plan: str, member_ref: str) -> Answer[Spells]:
        """The seats of a member."""
        return self.post(f"/v1/plans/{plan}/members/find", {"member_ref": member_ref})

    def show_member(self, plan: str, seat: int, *, on: Day | None = None) -> Answer[Member]:
        """A member as they stand on a day."""
        return self.get(f"/v1/plans/{plan}/members/{seat}", {"on": _day(on)})

    def show_member_statement(self, plan: str, seat: int) -> AsyncIterator[StatementEntry]:
        """Every amount on a member's accounts."""
        return self.pages(f"/v1/plans/{plan}/members/{seat}/statement")

    async def show_proof(self, plan: str, seat: int, run_id: int) -> Proof:
        """The proof of a share, checked here before it is handed on. Raises ProofBroken."""
        proof: Proof = await self.get(f"/v1/plans/{plan}/members/{seat}/proofs/{run_id}")
        if (proof["run_id"], proof["seat"]) != (run_id, seat) or not proof_holds(proof):
            raise ProofBroken
        return proof

    def list_of_claims(self, *, plan: str | None = None, state: str | None = None) -> AsyncIterator[Claim]:
        """Claims, in the order they were filed."""
        return self.pages("/v1/claims", {"plan": plan, "state": state})

    def show_claim(self, claim_id: int) -> Answer[ClaimRecord]:
        """A claim with its objections and its history."""
        return self.get(f"/v1/claims/{claim_id}")

    def file_claim(
        self,
        plan: str,
        member: int | str,
        diagnosed_on: Day,
        *,
        on: Day | None = None,
        aid: str | None = None,
        severity: str | None = None,
    ) -> Answer[Claim]:
        """File a claim of a member, who is named by the seat or by the reference."""
        body = {"diagnosed_on": str(diagnosed_on), "on": _day(on), "aid": aid, "severity": severity}
        return self.post("/v1/claims", {"plan": plan, "member": member, **body})

    def publish_claim(self, claim_id: int, *, on: Day | None = None) -> Answer[Claim]:
        """Publish a claim: its notice begins."""
        return self.post(f"/v1/claims/{claim_id}/publish", {"on": _day(on)})

    def object_to_claim(self, claim_id: int, reason: str, *, on: Day | None = None) -> Answer[Objection]:
        """Raise an objection."""
        return self.post(f"/v1/claims/{claim_id}/objections", {"reason": reason, "on": _day(on)})

    def resolve_objection(self, claim_id: int, number: int, resolution: str, *, on: Day | None = None) -> Answer[Claim]:
        """Settle an objection."""
        path = f"/v1/claims/{claim_id}/objections/{number}/resolve"
        return self.post(path, {"resolution": resolution, "on": _day(on)})

    def pass_claim(self, claim_id: int, *, on: Day | None = None) -> Answer[Claim]:
        """Pass a claim whose notice has ended."""
        return self.post(f"/v1/claims/{claim_id}/pass", {"on": _day(on)})

    def pass_due_claims(self, plan: str, *, on: Day | None = None) -> Answer[Passed]:
        """Pass every claim of a plan whose notice has ended without an open objection."""
        return self.post(f"/v1/plans/{plan}/claims/pass-due", {"on": _day(on)})

    def reject_claim(self, claim_id: int, reason: str, *, on: Day | None = None) -> Answer[Claim]:
        """Refuse a claim."""
        return self.post(f"/v1/claims/{claim_id}/reject", {"reason": reason, "on": _day(on)})

    def withdraw_claim(self, claim_id: int, reason: str, *, on: Day | None = None) -> Answer[Claim]:
        """Take a claim back."""
        return self.post(f"/v1/claims/{claim_id}/withdraw", {"reason": reason, "on": _day(on)})

    # Money: decisions, books, statements, breaks

    def list_of_decisions(self, *, plan: str | None = None, state: str | None = None) -> AsyncIterator[Decision]:
        """Decisions, newest first."""
        return self.pages("/v1/decisions", {"plan": plan, "state": state})

    def show_decision(self, decision_id: int) -> Answer[Decision]:
        """What is proposed, by whom, and what came of it."""
        return self.get(f"/v1/decisions/{decision_id}")

    def approve_decision(self, decision_id: int) -> Answer[Decision]:
        """Have a decision done."""
        return self.post(f"/v1/decisions/{decision_id}/approve")

    def refuse_decision(self, decision_id: int, reason: str) -> Answer[Decision]:
        """Refuse a decision."""
        return self.post(f"/v1/decisions/{decision_id}/refuse", {"reason": reason})

    def show_trial_balance(self, plan: str, *, as_of: Day | None = None) -> Answer[TrialBalance]:
        """Every account of a plan, and the difference of the two sides."""
        return self.get(f"/v1/plans/{plan}/trial-balance", {"as_of": _day(as_of)})

    def upload_statement(self, custodian: str, file: Path, *, on: Day | None = None) -> Answer[Job]:
        """Send a statement file; the job takes it."""
        return self.upload(f"/v1/custodians/{custodian}/statements", file, {"name": file.name, "on": _day(on)})

    def list_of_statements(self, *, custodian: str | None = None, state: str | None = None) -> AsyncIterator[Statement]:
        """Statements, newest first."""
        return self.pages("/v1/statements", {"custodian": custodian, "state": state})

    def show_statement(self, statement_id: int) -> Answer[Statement]:
        """One statement: its balances, and what became of its lines."""
        return self.get(f"/v1/statements/{statement_id}")

    def list_of_breaks(
        self,
        *,
        custodian: str | None = None,
        plan: str | None = None,
        run_id: int | None = None,
        code: str | None = None,
        state: str | None = None,
        severity: str | None = None,
        age: str | None = None,
        assigned_to: str | None = None,
    ) -> AsyncIterator[Break]:
        """Breaks; without a state all that want somebody still."""
        chosen = {"custodian": custodian, "plan": plan, "run_id": run_id, "code": code, "state": state}
        more = {"severity": severity, "age": age, "assigned_to": assigned_to}
        return self.pages("/v1/breaks", {**chosen, **more})

    def count_of_breaks(self, *, custodian: str | None = None, plan: str | None = None) -> Answer[BreakCounts]:
        """How many breaks there are of each code and state."""
        return self.get("/v1/breaks/counts", {"custodian": custodian, "plan": plan})

    def show_job(self, job_id: int) -> Answer[Job]:
        """A job, as it stands."""
        return self.get(f"/v1/jobs/{job_id}")

    async def wait_for_job(self, job_id: int, *, seconds: float = 600.0) -> Job:
        """A job once it is done. Raises JobFailed, and TimeoutError when it takes longer."""
        until = monotonic() + seconds
        while True:
            job = await self.show_job(job_id)
            if job["state"] == "done":
                return job
            if job["state"] == "failed":
                raise JobFailed(f"job {job_id} failed: {job['error']}")
            if monotonic() > until:
                raise TimeoutError(f"job {job_id} is {job['state']} after {seconds:,.0f} seconds")
            await asyncio.sleep(JOB_LOOK_SECONDS)

    # Queues and workers

    def list_queues(self) -> Answer[Queues]:
        """Every queue now."""
        return self.get("/v1/queues")

    def show_queue(self, queue: str) -> Answer[Queue]:
        """One queue now."""
        return self.get(f"/v1/queues/{queue}")

    def pause_queue(self, queue: str, reason: str) -> Answer[Pause]:
        """Let nobody take from a queue."""
        return self.post(f"/v1/queues/{queue}/pause", {"reason": reason})

    def resume_queue(self, queue: str) -> Answer[Pause]:
        """Let workers take from a queue again."""
        return self.post(f"/v1/queues/{queue}/resume")

    def pause_all_queues(self, reason: str) -> Answer[QueuePauses]:
        """Let nobody take from any queue."""
        return self.post("/v1/queues/pause", {"reason": reason})

    def resume_all_queues(self) -> Answer[QueuePauses]:
        """Let workers take from all queues again."""
        return self.post("/v1/queues/resume")

    def retry_queue(
        self,
        queue: str,
        reason: str,
        *,
        error: str | None = None,
        run_id: int | None = None,
        shard_id: int | None = None,
        batch_id: int | None = None,
        job_id: int | None = None,
        message_id: int | None = None,
        webhook_id: int | None = None,
    ) -> Answer[Retried]:
        """Let what failed be tried again: all of a queue, or what matches all that is given."""
        chosen = {"error": error, "run_id": run_id, "shard_id": shard_id, "batch_id": batch_id, "job_id": job_id}
        more = {"message_id": message_id, "webhook_id": webhook_id}
        return self.post(f"/v1/queues/{queue}/retry", {"reason": reason, **chosen, **more})

    def list_of_workers(self) -> AsyncIterator[Worker]:
        """Workers, as their last heartbeats say."""
        return self.pages("/v1/workers")

    def drain_worker(self, worker: str, reason: str) -> Answer[Draining]:
        """Let a worker end what is in hand, and then itself."""
        return self.post(f"/v1/workers/{worker}/drain", {"reason": reason})


def _day(day: Day | None) -> str | None:
    return None if day is None else str(day)
