"""What of the world the pages are shown about: the run that waits for its approval, the break that is hard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tests.screenshots.month import BALANCES, BANK, MUTUAL, TIERS, Month
from tests.screenshots.pictures import Picture

_QUERIES = {
    "previewed": "SELECT run_id FROM share_runs WHERE state = 'previewed'",
    "posting": "SELECT run_id FROM share_runs WHERE state = 'posting'",
    "claim_id": "SELECT claim_id FROM objections WHERE resolved_on IS NULL",
    "passed": "SELECT max(claim_id) FROM claims WHERE state = 'shared'",
    "statement_id": "SELECT statement_id FROM statements WHERE file LIKE 'by-hand%'",
    "break_id": "SELECT min(break_id) FROM break_events WHERE event = 'comment'",
    "decision_id": "SELECT max(decision_id) FROM decisions WHERE kind = 'resolution' AND state = 'proposed'",
    "job_id": "SELECT min(job_id) FROM jobs WHERE kind = 'export' AND state = 'done'",
    "seq": "SELECT max(seq) FROM journals WHERE shard_id = :shard AND kind = 'charge'",
}


@dataclass(frozen=True)
class Shown:
    """By the names of parameters: of most pages, and of others by their path or by what else they show."""

    usual: Mapping[str, Any]
    others: Mapping[str, Mapping[str, Any]]
    plan: str = MUTUAL
    member_ref: str = "M25"

    def of(self, picture: Picture) -> dict[str, Any]:
        """What a picture is about."""
        return {**self.usual, **self.others.get(picture.path, {}), **self.others.get(picture.also, {})}


async def shown_of(month: Month) -> Shown:
    """Found in the world."""
    shard_id = month.worlds[MUTUAL].shard(1)
    found = {}
    for name, query in _QUERIES.items():
        values = {"shard": shard_id} if ":shard" in query else {}
        found[name] = (await month.office.sql(query, **values)).scalar_one()
    usual = found | {
        "plan": MUTUAL, "custodian": BANK, "run_id": found["previewed"], "line_id": f"{found['statement_id']}-2",
        "webhook_id": 1, "seat": 25, "shard_id": shard_id, "queue": "post", "secret": "a-secret-of-nobody-whatever",
    }  # fmt: skip
    sealed, posting = {"run_id": month.runs[MUTUAL, date(2019, 7, 14)]}, {"run_id": found["posting"]}
    others = {
        "sealed": sealed, "posting": posting, "/runs/{run_id}/shards": posting, "/runs/{run_id}/journals": sealed,
        "/runs/{run_id}/settlement": sealed, "/public/runs/{run_id}": sealed,
        "/finance/members/{plan}/{seat}/proofs/{run_id}": sealed, "/public/{plan}": {"plan": BALANCES},
        "/runs/new": {"plan": TIERS},
        "/runs/new/estimate": {"plan": TIERS},
    }  # fmt: skip
    return Shown(usual, others)
