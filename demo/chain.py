"""Read tokens back from the chain by pytonlib and the getters of TEP-62 and TEP-85.

As anybody could, and with nothing of the minter's code: what it believes to have minted is what is
being checked.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from ops.errors import InvariantBroken, Transient

if TYPE_CHECKING:
    from ton_core import Slice

_IN_FLIGHT = 50
_ATTEMPTS = 5
_SECONDS = 20
Found = TypeVar("Found")


class ChainUnreadable(Transient):
    """The lite server did not answer a getter, several times over."""

    code = "chain_unreadable"


@dataclass(frozen=True, slots=True)
class Token:
    """An item by its own getters.

    Addresses are raw, `owner` and `authority` None once its owner destroyed it.

    `content` is the item's own part of the metadata URI.
    """

    collection: str
    index: int
    owner: str | None
    authority: str | None
    content: str
    revoked: bool


class ChainReader:
    """Asks getters; made by `reading`."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - pytonlib has no types
        self._client = client
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    async def token(self, address: str) -> Token | None:
        """Return the item at `address`, None where no initialised item is."""
        data = await self._get(address, "get_nft_data")
        if data is None or _number(data[0]) == 0:
            return None
        authority = await self._get(address, "get_authority_address")
        revoked = await self._get(address, "get_revoked_time")
        if authority is None or revoked is None:
            return None
        return Token(
            collection=_address(data[2]) or "",
            index=_number(data[1]),
            owner=_address(data[3]),
            authority=_address(authority[0]),
            content=_slice(data[4]).load_snake_bytes().decode("utf-8", "replace"),
            revoked=_number(revoked[0]) != 0,
        )

    async def tokens(self, addresses: Iterable[str]) -> dict[str, Token]:
        """Return the items at `addresses`, by address; where none is, none is returned."""
        wanted = sorted(addresses)
        found = await asyncio.gather(*(self.token(address) for address in wanted))
        return {
            address: token
            for address, token in zip(wanted, found, strict=True)
            if token is not None
        }

    async def item_count(self, collection: str) -> int:
        """Return how many items a collection has given out, 0 where it is not deployed."""
        data = await self._get(collection, "get_collection_data")
        return 0 if data is None else _number(data[0])

    async def send(self, boc: bytes) -> None:
        """Send an external message; what becomes of it only the chain tells."""
        await self._client.raw_send_message(boc)

    async def _get(self, address: str, getter: str) -> list[Any] | None:
        async with self._slots:
            answer = await _persistently(
                lambda: self._client.raw_run_method(address, getter, []), f"{getter} of {address}"
            )
        return list(answer["stack"]) if answer["exit_code"] == 0 else None


@asynccontextmanager
async def reading(config: Mapping[str, Any], keystore: Path) -> AsyncIterator[ChainReader]:
    """Yield a reader on the first lite server of a global config.

    `keystore` is a directory, which is there.
    """
    from pytonlib import TonlibClient

    client = TonlibClient(0, dict(config), str(keystore), verbosity_level=0)
    await client.init()
    try:
        yield ChainReader(client)
    finally:
        await client.close()


async def _persistently(ask: Callable[[], Awaitable[Found]], what: str) -> Found:
    from pytonlib.tonlibjson import TonlibError

    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((TonlibError, TimeoutError)),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_fixed(0.2),
            reraise=True,
        ):
            with attempt:
                async with asyncio.timeout(_SECONDS):
                    return await ask()
    except (TonlibError, TimeoutError) as error:
        raise ChainUnreadable(f"{what}: {error!r}") from error
    raise InvariantBroken("a retry loop ended without a result")


def _number(entry: list[Any]) -> int:
    return int(str(entry[1]), 16)


def _slice(entry: list[Any]) -> "Slice":
    from ton_core import Cell

    return Cell.one_from_boc(base64.b64decode(entry[1]["bytes"])).begin_parse()


def _address(entry: list[Any]) -> str | None:
    from ton_core import Address

    address = _slice(entry).load_address()
    return address.to_str(is_user_friendly=False) if isinstance(address, Address) else None
