"""A rebuild: what it stands at, and the events that it has filled in.

Nothing that is there is rewritten.
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    # One simple query: psycopg takes several statements in one text only where there are no
    # parameters.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(
        SQL.read_text(encoding="utf-8")
    )
