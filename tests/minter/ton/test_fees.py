"""The least values, on the real contracts: they do, and a nanogram less does not.

At the main network's prices and at those that it had before April 2026: what follows from the
prices must follow for any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from nacl.signing import SigningKey

from minter import budget
from minter.budget import Prices
from minter.ton import highload_wallet, tokens
from minter.ton.fees import LeastValues, NetworkPrices, least_values
from minter.ton.highload_wallet import Action, MessageHeader
from minter.ton.metadata_uris import item_suffix
from minter.ton.values import Item, Token
from ops.quantities import nanograms
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from sandbox.ton.account_state import AccountState
from sandbox.ton.accounts import faucet
from sandbox.ton.boc import to_boc
from sandbox.ton.cells import Address
from sandbox.ton.chain import Chain, ChainClock, ChainOptions
from sandbox.ton.config import TODAY, BasechainPrices
from store.values.minting import MessageKind
from store.values.names import RawAddress
from tests.builders.prices import BEFORE_APRIL_2026

NOW = 1_790_000_000
OWNER = RawAddress("0:" + "5d" * 32)
FUNDS_NANO = 1_000 * 10**9


@dataclass(frozen=True, slots=True)
class Key:
    key: SigningKey

    @property
    def public_key(self) -> bytes:
        return bytes(self.key.verify_key)

    def sign(self, digest: bytes) -> bytes:
        return self.key.sign(digest).signature


class Desk:
    """The minter's wallet and its collection, on a chain that makes blocks on demand."""

    def __init__(self, chain: Chain, deploy_nano: int = 10**8) -> None:
        self.chain = chain
        self.key = Key(SigningKey(b"\x21" * 32))
        self.wallet = highload_wallet.wallet(
            self.key.public_key, timedelta(minutes=5), chain.zero.id.root_hash
        )
        base = "https://metadata.example/badges/explorer/"
        self.collection = tokens.collection(self.wallet.address, f"{base}collection.json", base)
        self.sent = 0
        destination = Address.parse(self.wallet.address)
        payment = faucet(chain.options.seed).payment(
            destination, FUNDS_NANO, query=0, created_at=chain.last.utime - 1
        )
        chain.submit(payment)
        self.settle()
        init = self.collection.state_init
        self.send([Action(self.collection.address, deploy_nano, None, init)], deploy=True)

    def settle(self) -> None:
        self.chain.produce()
        while self.chain.waiting:
            self.chain.produce()

    def send(self, actions: list[Action], *, deploy: bool = False) -> None:
        time = datetime.fromtimestamp(self.chain.last.utime, UTC)
        header = MessageHeader(self.sent, time, deploy=deploy)
        self.chain.submit(highload_wallet.sign_message(self.wallet, self.key, actions, header).boc)
        self.sent += 1
        self.settle()

    def mint(self, index: int, value_nano: int, forward_nano: int) -> Action:
        token = Token(OWNER, self.wallet.address, item_suffix(UUID(int=index)))
        body = tokens.mint_body(index, token, forward_nano, query_id=0)
        return Action(self.collection.address, value_nano, body)

    def revoke(self, index: int, value_nano: int) -> Action:
        return Action(self.item_address(index), value_nano, tokens.revoke_body(0))

    def item_address(self, index: int) -> RawAddress:
        return tokens.item_address(self.collection.address, index)

    def account(self, address: RawAddress) -> AccountState:
        found = self.chain.account(Address.parse(address))
        assert found is not None
        return found

    def item(self, index: int) -> Item:
        data = self.account(self.item_address(index)).data
        assert data is not None
        return tokens.parse_item(to_boc(data))


@pytest.fixture(params=[TODAY, BEFORE_APRIL_2026], ids=["today", "before-april-2026"])
def prices(request: pytest.FixtureRequest) -> BasechainPrices:
    chosen: BasechainPrices = request.param
    return chosen


@pytest.fixture
def chain(prices: BasechainPrices, virtual_machine: Path) -> Iterator[Chain]:
    options = ChainOptions(user_wallets=0, prices=prices, emulator_library=virtual_machine)
    chain = Chain(options, ChainClock(lambda: NOW))
    yield chain
    chain.close()


@pytest.fixture
def desk(chain: Chain) -> Desk:
    return Desk(chain)


def asked(prices: BasechainPrices) -> NetworkPrices:
    """The prices as the minter reads them."""
    return NetworkPrices(
        gas=prices.gas,
        gas_flat_units=100,
        gas_flat=prices.gas_flat,
        message_lump=prices.message_lump,
        message_bit=prices.message_bit,
        message_cell=prices.message_cell,
    )


@pytest.fixture
def least(prices: BasechainPrices) -> LeastValues:
    return least_values(asked(prices))


def test_the_least_forward_initialises_an_item_and_a_nanogram_less_does_not(
    desk: Desk, least: LeastValues
) -> None:
    desk.send([desk.mint(0, 10**8, least.forward), desk.mint(1, 10**8, least.forward - 1)])
    token = desk.item(0).token
    assert token is not None
    assert token.owner == OWNER
    assert desk.item(1).token is None


def test_the_least_value_of_a_mint_costs_the_collection_nothing(
    desk: Desk, least: LeastValues
) -> None:
    value_nano = least.forward + least.mint_beside_forward
    before = desk.account(desk.collection.address).balance_nano
    desk.send([desk.mint(0, value_nano, least.forward)])
    assert desk.account(desk.collection.address).balance_nano == before
    desk.send([desk.mint(1, value_nano - 1, least.forward)])
    assert desk.account(desk.collection.address).balance_nano == before - 1


def test_the_least_value_of_a_revocation_revokes_and_a_nanogram_less_does_not(
    desk: Desk, least: LeastValues
) -> None:
    desk.send([desk.mint(index, 10**8, least.forward) for index in (0, 1)])
    desk.send([desk.revoke(0, least.revoke), desk.revoke(1, least.revoke - 1)])
    revoked = [token.revoked_at > 0 for index in (0, 1) if (token := desk.item(index).token)]
    assert revoked == [True, False]


def test_the_least_value_of_a_deployment_is_what_the_collections_transaction_takes(
    chain: Chain, least: LeastValues
) -> None:
    desk = Desk(chain, least.deploy)
    assert desk.account(desk.collection.address).balance_nano == 0


def test_the_default_values_do_at_either_price(desk: Desk, least: LeastValues) -> None:
    settings = MinterSettings()
    forward_nano = nanograms(settings.item_forward)
    assert nanograms(settings.item_value) >= forward_nano + least.mint_beside_forward
    assert forward_nano >= least.forward
    assert nanograms(settings.revoke_value) >= least.revoke
    assert nanograms(settings.deploy_value) >= least.deploy


def test_the_settings_floors_are_todays_least_values_rounded_up() -> None:
    least = least_values(asked(TODAY))
    fields = MinterSettings.model_fields

    def floor_nano(name: str) -> int:
        return nanograms(max(each.ge for each in fields[name].metadata if hasattr(each, "ge")))

    assert least.forward <= floor_nano("item_forward") <= least.forward * 1.1
    least_mint = least.forward + least.mint_beside_forward
    assert least_mint <= floor_nano("item_value") <= least_mint * 1.1
    assert least.revoke <= floor_nano("revoke_value") <= least.revoke * 1.1
    year_of_rent = 45 * TODAY.storage_cell * 31_557_600 // 65_536
    assert floor_nano("deploy_value") >= year_of_rent + least.deploy
    forward = Decimal("0.01")
    beside = Decimal(least.mint_beside_forward) / 10**9
    with pytest.raises(ValueError, match=r"exceed minter\.item_forward by at least 0\.0012"):
        Settings(minter=MinterSettings(item_value=forward + beside, item_forward=forward))
    Settings(minter=MinterSettings(item_value=forward + Decimal("0.0012"), item_forward=forward))


@pytest.mark.parametrize("count", [1, 120, 250])
def test_a_message_never_takes_more_than_the_budget_says(desk: Desk, count: int) -> None:
    settings = MinterSettings()
    value_nano, forward_nano = nanograms(settings.item_value), nanograms(settings.item_forward)
    before = desk.account(desk.wallet.address).balance_nano
    desk.send([desk.mint(index, value_nano, forward_nano) for index in range(count)])
    spent = before - desk.account(desk.wallet.address).balance_nano
    assert spent > count * value_nano
    assert spent <= budget.cost_nano(MessageKind.MINT, count, Prices(value_nano, 0, 0, 0))
