"""A small real world behind the API: something for every path to find."""

from __future__ import annotations

from datetime import timedelta

from engine import claims
from engine.store.outbox import Event, announce
from tests.integration.api.asked import worked
from tests.integration.bank_statement import Line
from tests.integration.reconciling import Asked, asked
from tests.integration.worlds import AUGUST, LATE_DEBIT, LATE_JULY, Claimant, alike
from tests.serving import Answer, Served

SHARE_MINOR = 10
"""What each of the four seats owes of the claim: their cap."""

THERE: dict[str, list[str | int]] = {
    "plan": ["xianghubao"],
    "custodian": ["generic-csv"],
    "run_id": [1, 2],
    "claim_id": [1, 2, 3, 4],
    "number": [1],
    "break_id": [1, 2],
    "decision_id": [1],
    "statement_id": [1],
    "ordinal": [1, 2],
    "batch_id": [1],
    "seat": [0, 3],
    "shard_id": [1_000_001],
    "seq": [1],
    "job_id": [1],
    "name": ["summary.csv"],
    "webhook_id": [1],
    "message_id": [1, 2, 3],
    "worker": ["one"],
    "queue": ["post"],
    "debit_on": ["2019-07-28"],
}
"""What it holds, by the names of parameters."""


async def furnish(served: Served) -> None:
    """A plan of four seats: a run that is paid for and one that is planned, a statement with breaks, claims, a
    decision that waits, an export that is done, a webhook with a message, and a worker.
    """
    found = await asked(served.service.engine, served.service.desk.files, alike(4))
    taken = await found.takes(Line(SHARE_MINOR, found.reference(0)), Line(3_00, "who is this"), Line(4_00, "and this"))
    assert taken.statement_id == 1
    await found.world.claim(aid_minor=80_00, notice_on=LATE_JULY)
    await found.world.planned(LATE_DEBIT)
    await _claims(found)
    await found.world.sql("INSERT INTO workers (worker, host, pid, version) VALUES ('one', 'here', 1, '0')")
    said = {"action": "write off", "reason": "nobody knows it"}
    _done(await served.finance.post("/v1/breaks/1/propose", said))
    export = await served.finance.post("/v1/runs/1/exports", {"format": "csv"})
    assert (await worked(served, export))["state"] == "done"
    hook = {"url": "http://127.0.0.1:9/hook", "events": [Event.BREAK_OPENED]}
    _done(await served.admin.post("/v1/webhooks", hook))
    async with served.service.engine.begin() as connection:
        await announce(connection, Event.BREAK_OPENED, "custodian:generic-csv", {"count": 1})


def _done(answer: Answer) -> None:
    assert answer.status in (200, 201), answer.said


async def _claims(found: Asked) -> None:
    """One that is filed, and one under notice that somebody objects to."""
    world, on = found.world, AUGUST - timedelta(days=2)
    async with world.engine.begin() as connection:
        for seat in (2, 3):
            claimant = Claimant(world.shard(1), seat=seat)
            claim = await claims.file(
                connection, world.plan_id, world.rules, claimant,
                diagnosed_on=on, on=on, actor="intake", aid_minor=50_00,
            )  # fmt: skip
        await claims.publish(connection, claim.claim_id, world.rules, on=AUGUST, actor="intake")
        await claims.object_to(connection, claim.claim_id, reason="ill before", on=AUGUST, actor="olga")
