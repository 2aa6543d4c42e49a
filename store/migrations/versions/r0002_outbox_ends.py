"""Find the oldest message that waits, and the last that went out, by an index.

`laurel worker` shows both (laurel_outbox_oldest_seconds). Building the index keeps writers waiting:
some seconds for ten million messages.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

SQL = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    # One simple query: psycopg takes several statements in one text only where there are no
    # parameters.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(
        SQL.read_text(encoding="utf-8")
    )
