"""The custodian: instructions, statements, breaks, and periods that are locked.

Expands only: what the release before reads and writes stays as it was, so that its workers may finish meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """Columns, new tables, the constraints that name them, triggers, and the view that knows the new states."""
    op.execute("SET LOCAL check_function_bodies = on")  # also opens the transaction, which the driver does lazily
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None
    for part in ("columns", "tables", "constraints", "triggers", "views"):
        script = (SQL / f"0003_{part}.sql").read_text("utf-8")
        adapted.run_async(lambda driver, script=script: driver.execute(script))
