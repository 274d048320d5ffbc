"""Where a run stands, what it came to, and what went wrong: what `fentan run show` and the API tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.reconcile.closing import Missing, missing_to_close
from engine.roster.plan import rules_of
from engine.runs.planning import today_in, waits_for
from engine.runs.report import Totals, cases_of, failed_shards, phase_seconds, phase_table, totals_of
from engine.runs.run import Run, load_run
from engine.runs.shards import Progress, progress_of
from engine.runs.states import RunState

_SINCE = (RunState.SEALED, RunState.COLLECTING, RunState.SETTLED, RunState.CLOSED)


@dataclass(frozen=True)
class RunReport:
    """A run as it stands. `cases`, `phases`: as `cases_of` and `phase_table` say; `failed`: (shard, error).

    `totals`: None before it was solved. `waits_for`: what a planned run waits for, in words. `missing`: what keeps a
    sealed run from being closed.
    """

    run: Run
    waits_for: str | None
    shards: Progress
    totals: Totals | None
    cases: Sequence[Mapping[str, Any]]
    missing: Sequence[Missing]
    failed: Sequence[tuple[int, str]]

    @property
    def phases(self) -> dict[str, dict[str, float]]:
        """How long each phase that is over took."""
        return phase_table(phase_seconds(self.run.moments), self.run.members or 0)

    def as_json(self) -> dict[str, Any]:
        """Counts as numbers, amounts as text in major units."""
        run, done = self.run, self.shards
        return {
            "run": run.run_id,
            "plan": run.plan_code,
            "debit_on": run.debit_on.isoformat(),
            "state": run.state,
            "waits_for": self.waits_for,
            "paused": run.paused,
            "planned_by": run.planned_by,
            "approved_by": run.approved_by,
            "shards": {"all": done.shards, "done": done.done, "working": done.working, "failed": done.failed},
            **(self.totals.as_json() if self.totals is not None else {}),
            "cases": self.cases,
            "since": {name: run.moments[name] for name in _SINCE if name in run.moments},
            "missing_to_close": [each.text for each in self.missing],
            "phases": self.phases,
            "preview_digest": run.preview_digest.hex() if run.preview_digest else None,
            "sealed_root": run.root.hex() if run.root else None,
            "void_root": run.void_root.hex() if run.void_root else None,
            "failure": run.failure,
            "failed_shards": [{"shard": shard, "error": error} for shard, error in self.failed],
        }


async def report_of(connection: AsyncConnection, run_id: int) -> RunReport:
    """Everything there is to say of a run. Raises NotFound."""
    run = await load_run(connection, run_id)
    waits = None
    if run.state is RunState.PLANNED:
        rules = await rules_of(connection, run.plan_id, run.rules_version)
        waits = waits_for(rules, run.debit_on, await today_in(connection, rules.time_zone))
    return RunReport(
        run,
        waits,
        await progress_of(connection, run_id),
        await totals_of(connection, run),
        await cases_of(connection, run_id),
        await missing_to_close(connection, run),
        await failed_shards(connection, run_id),
    )
