"""The contracts that the minter works with, written in the network's own cells.

A highload wallet and a collection of SBT items.
"""

from dataclasses import dataclass, field

from nacl.signing import SigningKey
from ton_core.contrib.contracts.codes import CONTRACT_CODES
from ton_core.contrib.contracts.versions import ContractVersion

from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import EMPTY_CELL, Address, Builder, Cell
from sandbox.ton.dictionaries import NO_EXTRA, Dictionary
from sandbox.ton.messages import external_message, internal_message, state_init

GRAM = 10**9
MINT_VALUE = 10**8
REVOKE, DESTROY = 0x6F89F5E3, 0x1F04537A


def code(version: ContractVersion) -> Cell:
    return from_boc(bytes.fromhex(CONTRACT_CODES[version]))


@dataclass
class HighloadWallet:
    key: SigningKey = field(default_factory=lambda: SigningKey(b"\x21" * 32))
    subwallet: int = 0x10AD
    timeout: int = 300

    @property
    def init(self) -> Cell:
        data = (
            Builder()
            .raw(bytes(self.key.verify_key))
            .uint(self.subwallet, 32)
            .uint(0, 66)
            .uint(self.timeout, 22)
        )
        return state_init(code(ContractVersion.WalletHighloadV3R1), data.end())

    @property
    def address(self) -> Address:
        return Address(0, self.init.hash)

    def batch(self, messages: list[Cell], query: int, value: int = GRAM) -> Cell:
        """The internal_transfer to itself that sends `messages` (at most 254)."""
        actions = EMPTY_CELL
        for message in messages:
            actions = Builder().ref(actions).uint(0x0EC3C86D, 32).uint(1, 8).ref(message).end()
        body = Builder().uint(0xAE42E5A4, 32).uint(query, 64).ref(actions).end()
        return internal_message(self.address, value, body=body)

    def external(
        self,
        messages: list[Cell],
        *,
        query: int,
        created_at: int,
        deploy: bool = False,
        value: int = GRAM,
    ) -> bytes:
        inner = (
            Builder()
            .uint(self.subwallet, 32)
            .ref(self.batch(messages, query, value))
            .uint(1, 8)
            .uint(query, 23)
        )
        order = inner.uint(created_at, 64).uint(self.timeout, 22).end()
        body = Builder().raw(self.key.sign(order.hash).signature).ref(order).end()
        return to_boc(external_message(self.address, body, self.init if deploy else None))


@dataclass
class Collection:
    owner: Address

    @property
    def init(self) -> Cell:
        content = Builder().ref(Builder().uint(1, 8).raw(b"https://badges.example/c.json").end())
        content.ref(Builder().raw(b"https://badges.example/metadata/").end())
        royalty = Builder().uint(0, 16).uint(1000, 16).address(self.owner).end()
        data = (
            Builder()
            .address(self.owner)
            .uint(0, 64)
            .ref(content.end())
            .ref(self._item_code())
            .ref(royalty)
            .end()
        )
        return state_init(code(ContractVersion.NFTCollectionEditable), data)

    @staticmethod
    def _item_code() -> Cell:
        return code(ContractVersion.NFTItemSoulbound)

    @property
    def address(self) -> Address:
        return Address(0, self.init.hash)

    def deploy(self, value: int = MINT_VALUE) -> Cell:
        return internal_message(self.address, value, init=self.init, bounce=False)

    def item(self, index: int) -> Address:
        data = Builder().uint(index, 64).address(self.address).end()
        return Address(0, state_init(self._item_code(), data).hash)

    def mint(
        self, index: int, owner: Address, *, value: int = MINT_VALUE, forward: int = 5 * 10**7
    ) -> Cell:
        body = (
            Builder()
            .uint(1, 32)
            .uint(0, 64)
            .uint(index, 64)
            .coins(forward)
            .ref(self._content(index, owner))
            .end()
        )
        return internal_message(self.address, value, body=body)

    def mint_batch(
        self, first: int, owner: Address, count: int, *, forward: int = 2 * 10**7
    ) -> Cell:
        items: Dictionary[None] = Dictionary(64, NO_EXTRA)
        for index in range(first, first + count):
            items = items.put(
                index, Builder().coins(forward).ref(self._content(index, owner)), None
            )
        body = Builder().uint(2, 32).uint(0, 64).ref(items.root_builder().end()).end()
        return internal_message(self.address, count * 3 * 10**7 + GRAM, body=body)

    def _content(self, index: int, owner: Address) -> Cell:
        suffix = Builder().raw(f"{index}.json".encode()).end()
        return Builder().address(owner).ref(suffix).address(self.owner).uint(0, 64).end()


def revoke(item: Address) -> Cell:
    return internal_message(item, 5 * 10**7, body=Builder().uint(REVOKE, 32).uint(7, 64).end())


def destroy_body() -> Cell:
    return Builder().uint(DESTROY, 32).uint(7, 64).end()
