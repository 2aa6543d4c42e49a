"""Where a badge's metadata lives (TEP-64): the collection's part of the URI, and the item's.

A URI never changes; the document behind it follows the level. The item's part names the badge, so
the chain alone tells whose token an item is. Pure.
"""

from uuid import UUID

from store.values.names import TypeCode


def item_prefix(base_url: str, type_code: TypeCode) -> str:
    """Return the common part of a type's metadata URIs, with its slash."""
    return f"{base_url}/{type_code}/"


def item_suffix(instance_id: UUID) -> str:
    """Return the item's own part of its metadata URI."""
    return f"{instance_id}.json"


def collection_uri(base_url: str, type_code: TypeCode) -> str:
    """Return where the collection's own metadata lives."""
    return item_prefix(base_url, type_code) + "collection.json"


def instance_of(content: str) -> UUID | None:
    """Return the badge that an item's content names; None where it names none."""
    name, dot, extension = content.rpartition(".")
    if not dot or extension != "json":
        return None
    try:
        instance_id = UUID(name)
    except ValueError:
        return None
    # UUID() reads braces and urns too: those are not ours.
    return instance_id if str(instance_id) == name else None
