"""The id of a badge: the same for the same user, type and ordinal, in every database.

Pure. Whoever counts the events of a user again, after a restore or from the beginning, earns the
same badge under the same id; a token on chain, whose content names that id, is recognised.
"""

from typing import Final
from uuid import UUID, uuid5

from store.values.names import TypeCode

# UUID 5 of urn:laurel:nft_instance in the namespace of URLs (RFC 9562, sections 5.5 and 6.6). Never
# to change: every badge's id derives from it, and the content of every token names that id.
INSTANCE_NAMESPACE: Final = UUID("c3bfb521-ecf6-5cf2-ac8b-d40882b05e10")
FIRST_ORDINAL: Final = 1


def instance_id(user_id: UUID, code: TypeCode, ordinal: int) -> UUID:
    """Return nft_instance.id of a user's badge of the type `code`.

    `ordinal` is 1 for the first badge, 2 for one awarded after that was revoked or burned, and so
    on.
    """
    return uuid5(INSTANCE_NAMESPACE, f"{user_id}/{code}/{ordinal}")
