"""Every scheme runs: cover changes, family payers, staged aid, credit runs, decisions, plans that end.

Expands only: what the release before reads and writes stays as it was, so that its workers may finish meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """Columns, then constraints, then the tables and the view that are new."""
    op.execute("SET LOCAL check_function_bodies = on")  # also opens the transaction, which the driver does lazily
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None
    for part in ("columns", "constraints", "tables", "views"):
        script = (SQL / f"0002_{part}.sql").read_text("utf-8")
        adapted.run_async(lambda driver, script=script: driver.execute(script))
