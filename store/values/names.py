"""The types of single values: identifiers, numbers, keys.

Pure.
"""

from decimal import Decimal
from typing import NewType
from uuid import UUID

TypeCode = NewType("TypeCode", str)
CounterName = NewType("CounterName", str)
# What is counted and compared, exact: never a float.
Number = int | Decimal
# A TON account in raw form, `workchain:64 hex digits`, lower case.
RawAddress = NewType("RawAddress", str)
# Marks the rows of one claim (nft_mint_queue.lease_token): who names it holds the lease.
LeaseToken = NewType("LeaseToken", UUID)
# user_id, type_id: whose badge, and of which type.
Holder = tuple[UUID, UUID]
# topic, partition: what Kafka keeps in order, and the ledger counts by.
Partition = tuple[str, int]
