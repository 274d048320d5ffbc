"""The spine: plans, rosters, claims, runs and the ledger with its guards."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """Functions before the CHECKs that call them, triggers and views after the tables they stand on."""
    op.execute("SET LOCAL check_function_bodies = on")  # also opens the transaction, which the driver does lazily
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None
    for part in ("guards", "tables", "triggers", "views"):
        script = (SQL / f"0001_{part}.sql").read_text("utf-8")
        adapted.run_async(lambda driver, script=script: driver.execute(script))
