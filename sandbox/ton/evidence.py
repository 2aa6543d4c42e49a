"""Build a lite server's proof chains: which cells of blocks and states a client has to be shown.

From a block it trusts to a newer one, and from a block to what is in its state; the Merkle proofs
themselves are made by proofs.py, the answers around them by answers.py and history.py.

A client starts from a zero state or key block it was given, sees there who may sign
(`forward_link`), checks the signature of a later block, and reads that block's state through Merkle
proofs of the header and of the state.
"""

from collections import OrderedDict
from collections.abc import Iterable

from sandbox.ton.adnl import key_id
from sandbox.ton.blocks import BLOCK_EXTRA, BLOCK_INFO, EXTRA_CUSTOM, Block
from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Cell
from sandbox.ton.chain import Chain
from sandbox.ton.config import SIGNATURE_PARAMS, VERSION_PARAM
from sandbox.ton.proofs import merkle_proof
from sandbox.ton.states import (
    CATCHAIN_SEQNO,
    CUSTOM_BLOCKS,
    CUSTOM_CONFIG,
    CUSTOM_SHARDS,
    STATE_ACCOUNTS,
    STATE_CUSTOM,
    STATE_INFO,
    BlockId,
    State,
    validator_set_hash,
)
from sandbox.ton.tl import TlObject

# ton.blockId root_cell_hash:int256 file_hash:int256
_BLOCK_ID_TL = (0xC50B6E70).to_bytes(4, "little")
_CACHED = 64


class StateGone(Exception):
    """The block is known, but its state has left the window that is kept."""


class Evidence:
    """Makes the proofs of one chain. Bags of cells all.

    Those asked for again and again are kept a while.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._shard_proofs: OrderedDict[bytes, bytes] = OrderedDict()
        self._signer_proofs: dict[int, bytes] = {}

    def shard(self, master: Block) -> bytes:
        """Return two proofs in one bag.

        The masterchain block's header, and its state down to the shard it carries.
        """
        found = self._shard_proofs.get(master.id.root_hash)
        if found is None:
            state = _state(master)
            found = to_boc(
                from_boc(master.header_proof), merkle_proof(state.root, *_master_state(state))
            )
            self._shard_proofs[master.id.root_hash] = found
            if len(self._shard_proofs) > _CACHED:
                self._shard_proofs.popitem(last=False)
        return found

    def account(self, block: Block, account: bytes) -> bytes:
        """Return two proofs in one bag.

        The block's header, and its state down to the account, or to where it is not.
        """
        state = _state(block)
        root = state.root
        keep = {root.refs[STATE_ACCOUNTS].hash, root.refs[STATE_INFO].hash}
        keep |= state.accounts.path(int.from_bytes(account, "big"))
        if len(root.refs) > STATE_CUSTOM:
            keep.add(root.refs[STATE_CUSTOM].hash)
        return to_boc(from_boc(block.header_proof), merkle_proof(root, keep))

    def config(self, master: Block, numbers: Iterable[int] | None) -> bytes:
        """Return the proof of the state with the parameters `numbers`, all of them for None.

        The earlier blocks that a getter may ask about are shown, too.
        """
        state = _state(master)
        # The 16 last blocks and 16 at multiples of 100: what `prev_blocks_info` in a contract's c7
        # holds.
        seqno = master.id.seqno
        hundreds = range(seqno // 100 * 100, -1, -100)[:17]
        earlier = {
            0,
            *range(max(0, seqno - 17), seqno),
            *(number for number in hundreds if number < seqno),
        }
        keep, whole = _master_state(state, earlier if seqno else ())
        if numbers is None:
            whole.add(state.root.refs[STATE_CUSTOM].refs[CUSTOM_CONFIG].hash)
        else:
            path, params = self._chain.network.config.path_to((*numbers, VERSION_PARAM))
            keep, whole = keep | path, whole | params
        return to_boc(merkle_proof(state.root, keep, whole))

    def known_blocks(self, master: Block, seqno: int) -> bytes:
        """Return the proof of `master`'s state with the entry of an earlier masterchain block."""
        state = _state(master)
        return to_boc(merkle_proof(state.root, *_master_state(state, {0, seqno})))

    def libraries(self, block: Block) -> bytes:
        """Return the proof of the state that shows that it has no libraries."""
        root = _state(block).root
        return to_boc(merkle_proof(root, {root.refs[STATE_INFO].hash}))

    def shard_in_block(self, master: Block) -> bytes:
        """Return the proof of a masterchain block down to the shard block it carries."""
        root = master.root()
        custom = root.refs[BLOCK_EXTRA].refs[EXTRA_CUSTOM]
        return to_boc(merkle_proof(root, {root.refs[BLOCK_EXTRA].hash}, {custom.hash}))

    def transactions(self, block: Block) -> bytes:
        """Return the proof of a block's header and all its transactions."""
        root = block.root()
        return to_boc(
            merkle_proof(root, {root.refs[BLOCK_INFO].hash}, {root.refs[BLOCK_EXTRA].hash})
        )

    def forward_link(self, source: Block, target: Block) -> TlObject:
        """Return `blockLinkForward` to a later masterchain block.

        From the zero state or the key block.
        """
        key = self._chain.network.validator_key
        return {
            "@type": "liteServer.blockLinkForward",
            "to_key_block": target.is_key,
            "from": source.id.tl(),
            "to": target.id.tl(),
            "dest_proof": target.header_proof,
            "config_proof": self._signers(source),
            "signatures": {
                "@type": "liteServer.signatureSet.ordinary",
                "validator_set_hash": validator_set_hash(key),
                "catchain_seqno": CATCHAIN_SEQNO,
                "signatures": [
                    {
                        "@type": "liteServer.signature",
                        "node_id_short": key_id(key),
                        "signature": self._signature(target.id),
                    }
                ],
            },
        }

    def back_link(self, source: Block, target: Block) -> TlObject:
        """Return `blockLinkBack` from a masterchain block to an earlier one in its state."""
        state = _state(source)
        keep, whole = _master_state(state, {0, target.id.seqno})
        whole.add(state.root.refs[STATE_CUSTOM].refs[CUSTOM_CONFIG].hash)
        return {
            "@type": "liteServer.blockLinkBack",
            "to_key_block": target.is_key,
            "from": source.id.tl(),
            "to": target.id.tl(),
            "dest_proof": target.header_proof,
            "proof": source.header_proof,
            "state_proof": to_boc(merkle_proof(state.root, keep, whole)),
        }

    def _signers(self, source: Block) -> bytes:
        """Return the proof of who signs, out of the zero state or the key block."""
        found = self._signer_proofs.get(source.id.seqno)
        if found is not None:
            return found
        path, params = self._chain.network.config.path_to(SIGNATURE_PARAMS)
        if source is self._chain.zero:
            state = _state(source)
            keep, whole = _master_state(state)
            root = state.root
        else:
            root = source.root()
            extra = root.refs[BLOCK_EXTRA]
            keep, whole = (
                {root.refs[BLOCK_INFO].hash, extra.hash, extra.refs[EXTRA_CUSTOM].hash},
                set(),
            )
        found = self._signer_proofs[source.id.seqno] = to_boc(
            merkle_proof(root, keep | path, whole | params)
        )
        return found

    def _signature(self, block: BlockId) -> bytes:
        return bytes(
            self._chain.validator.sign(_BLOCK_ID_TL + block.root_hash + block.file_hash).signature
        )


def _master_state(state: State, seqnos: Iterable[int] = ()) -> tuple[set[bytes], set[bytes]]:
    """Return what is shown of a masterchain state.

    Shards whole, and the entries of the blocks `seqnos`; as (keep, whole).
    """
    custom: Cell = state.root.refs[STATE_CUSTOM]
    keep = {state.root.refs[STATE_INFO].hash, custom.hash, custom.refs[CUSTOM_BLOCKS].hash}
    for seqno in seqnos:
        keep |= state.previous_blocks.path(seqno)
    return keep, {custom.refs[CUSTOM_SHARDS].hash}


def _state(block: Block) -> State:
    if block.state is None:
        # pytonlib knows this by its last words (BlockDeleted)
        raise StateGone(
            f"cannot load state of block {block.id.workchain}:{block.id.seqno} : state already gc'd"
        )
    return block.state
