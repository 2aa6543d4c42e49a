"""Keep jobs that count history, and how far each is done.

A new table, made in a moment; nobody waits.
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    # One simple query: psycopg takes several statements in one text only where there are no
    # parameters.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(
        SQL.read_text(encoding="utf-8")
    )
