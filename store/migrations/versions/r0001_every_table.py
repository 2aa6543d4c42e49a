"""Make every table, and close the audit log.

The statements are in the .sql file beside this module: they are read as SQL, by people and by psql.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    # One simple query: psycopg takes several statements in one text only where there are no
    # parameters.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(
        SQL.read_text(encoding="utf-8")
    )
