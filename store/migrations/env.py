"""What Alembic runs: the revisions, over the connection that store/migrations/__init__.py hands in.

There is no other way in. `alembic` by hand has no connection here, so it cannot migrate a database
without the lock.
"""

from alembic import context

from ops.errors import UsageError
from store.models import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise UsageError("Alembic was started by hand. Migrate a database with `laurel db upgrade`.")
context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
