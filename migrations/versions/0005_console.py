"""The console: passwords of tokens, sessions, failed attempts to sign in, and one-time links to a member's shares.

Expands only: what the release before reads and writes stays as it was, so that its workers may finish meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """A column of tokens, the new tables, and a password's index."""
    op.execute("SET LOCAL check_function_bodies = on")  # also opens the transaction, which the driver does lazily
    adapted = op.get_bind().connection.dbapi_connection
    assert adapted is not None
    for part in ("columns", "tables", "indexes"):
        script = (SQL / f"0005_{part}.sql").read_text("utf-8")
        adapted.run_async(lambda driver, script=script: driver.execute(script))
