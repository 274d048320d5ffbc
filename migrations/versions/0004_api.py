"""The API: tokens, idempotency keys, webhooks, queues that can be paused, jobs, and what is planned by the clock.

Expands only: what the release before reads and writes stays as it was, so that its workers may finish meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """A column of workers, one of shards at work, the new tables, a guard of I13, and indexes of the audit log."""
    op.execute("SET LOCAL check_function_bodies = on")  # also opens the transaction, which the driver does lazily
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None
    for part in ("columns", "tables", "constraints", "indexes"):
        script = (SQL / f"0004_{part}.sql").read_text("utf-8")
        adapted.run_async(lambda driver, script=script: driver.execute(script))
