"""Every table, typed. The seed's entities keep their names and fields.

What is ours beside them is marked `+`. Whoever imports one group of tables gets all of them.

Statements longer than a line or two are SQL texts in the modules that own them; this package is the
one place that says which columns, constraints and indexes exist. The migration in store/migrations
is generated from it, and a test holds both equal.
"""

from store.models import achievements, badges, catalog, fills, history, minting, outbox, stream
from store.models.base import Base

__all__ = [
    "Base",
    "achievements",
    "badges",
    "catalog",
    "fills",
    "history",
    "minting",
    "outbox",
    "stream",
]
