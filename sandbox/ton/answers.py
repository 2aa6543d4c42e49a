"""Answer a lite server's queries about blocks and states: lookup, response, proof attached.

Queries about transactions are in history.py; the proofs come from evidence.py.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from sandbox.ton.blocks import BLOCK_EXTRA, EXTRA_CUSTOM, Block
from sandbox.ton.boc import to_boc
from sandbox.ton.cells import Builder
from sandbox.ton.chain import Chain
from sandbox.ton.evidence import Evidence
from sandbox.ton.states import BASECHAIN, CUSTOM_SHARDS, MASTERCHAIN, WHOLE_SHARD
from sandbox.ton.tl import TlObject

VERSION = 0x101
CAPABILITIES = 7
_LAST = 0xFFFFFFFF
_UNSIGNED_64 = (1 << 64) - 1
_BY_SEQNO, _BY_LT, _BY_UTIME = 1, 2, 4  # modes of lookupBlock

# Codes of a lite server's errors (ton/validator/impl/liteserver.cpp, ton/common/errorcode.h).
FAILURE, REFUSED, NOT_FOUND, TIMED_OUT, PROTOCOL = 0, 601, 651, 652, -400

Method = Callable[[TlObject], TlObject]


class QueryError(Exception):
    """An answer that is `liteServer.error`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class BlockFinder:
    """Finds the blocks that queries name; every method raises QueryError where there is none."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def block(self, block_id: TlObject, *, or_zero_state: bool = False) -> Block:
        """Return the block with this id; its hashes must be the asked ones.

        Args:
            block_id: `tonNode.blockIdExt`; the seqno -1 of the masterchain is the newest block.
            or_zero_state: seqno 0 will do: a proof may begin there, but it has no header.

        Raises:
            QueryError: there is none.
        """
        workchain, seqno = block_id["workchain"], block_id["seqno"] & _LAST
        if workchain == MASTERCHAIN and seqno == _LAST:
            return self._chain.last
        block = self.at(workchain, seqno)
        if (
            block.id.root_hash != block_id["root_hash"]
            or block.id.file_hash != block_id["file_hash"]
        ):
            raise QueryError(NOT_FOUND, f"block {workchain}:{seqno} with these hashes is not in db")
        return block if or_zero_state else _with_header(block)

    def at(self, workchain: int, seqno: int) -> Block:
        """Return the block at this place."""
        if workchain not in (MASTERCHAIN, BASECHAIN):
            raise QueryError(NOT_FOUND, f"workchain {workchain} does not exist here")
        blocks = self._chain.blocks(workchain)
        if not 0 <= seqno < len(blocks):
            raise QueryError(NOT_FOUND, f"block {workchain}:{seqno} is not in db")
        return blocks[seqno]

    def companion(self, block: Block) -> Block:
        """Return the masterchain block of a shard block, and the other way round."""
        if block.companion is None:
            raise QueryError(NOT_FOUND, f"block {block.id.workchain}:{block.id.seqno} stands alone")
        return self.at(block.companion.workchain, block.companion.seqno)

    def master(self, block_id: TlObject) -> Block:
        """Return the masterchain block with this id."""
        block = self.block(block_id)
        if block.id.workchain != MASTERCHAIN:
            raise QueryError(PROTOCOL, "a masterchain block is wanted here")
        return block

    def looked_up(self, query: TlObject) -> Block:
        """Return the block that a `lookupBlock` describes.

        By seqno, or the first that reaches a logical time or an instant.
        """
        place, mode = query["id"], query["mode"]
        if place["shard"] & _UNSIGNED_64 != WHOLE_SHARD:
            raise QueryError(NOT_FOUND, "there is one shard here, the whole workchain")
        if mode & _BY_SEQNO:
            return _with_header(self.at(place["workchain"], place["seqno"] & _LAST))
        self.at(place["workchain"], 0)
        blocks = self._chain.blocks(place["workchain"])
        if mode & _BY_LT:
            seqno = bisect_right(blocks, query["lt"], key=lambda block: block.end_lt)
        elif mode & _BY_UTIME:
            seqno = bisect_left(blocks, query["utime"], key=lambda block: block.utime)
        else:
            raise QueryError(PROTOCOL, "a seqno, a logical time or an instant is wanted")
        if seqno < len(blocks):
            return blocks[max(1, seqno)]
        raise QueryError(NOT_FOUND, "block not found : it is not in db")


def _with_header(block: Block) -> Block:
    if block.id.seqno == 0:
        raise QueryError(
            NOT_FOUND, "a zero state has no header, so nothing in it is proven this way"
        )
    return block


class BlockAnswers:
    """Answers about the tip, blocks, states and configuration."""

    def __init__(self, chain: Chain, evidence: Evidence, find: BlockFinder) -> None:
        self._chain, self._evidence, self._find = chain, evidence, find
        self.methods: dict[str, Method] = {
            "liteServer.getTime": self._get_time,
            "liteServer.getVersion": self._get_version,
            "liteServer.getMasterchainInfo": self._get_masterchain_info,
            "liteServer.getMasterchainInfoExt": self._get_masterchain_info_ext,
            "liteServer.getBlockProof": self._get_block_proof,
            "liteServer.getAccountState": self._get_account_state,
            "liteServer.getConfigAll": self._get_config_all,
            "liteServer.getConfigParams": self._get_config_params,
            "liteServer.getBlock": self._get_block,
            "liteServer.getBlockHeader": self._get_block_header,
            "liteServer.lookupBlock": self._lookup_block,
            "liteServer.lookupBlockWithProof": self._lookup_block_with_proof,
            "liteServer.getAllShardsInfo": self._get_all_shards_info,
            "liteServer.getShardBlockProof": self._get_shard_block_proof,
            "liteServer.getLibrariesWithProof": self._get_libraries_with_proof,
        }

    def _zero_state_id(self) -> TlObject:
        zero = self._chain.zero.id
        return {
            "@type": "tonNode.zeroStateIdExt",
            "workchain": MASTERCHAIN,
            "root_hash": zero.root_hash,
            "file_hash": zero.file_hash,
        }

    # The server and the tip

    def _get_time(self, _query: TlObject) -> TlObject:
        return {"@type": "liteServer.currentTime", "now": self._chain.clock.now()}

    def _get_version(self, _query: TlObject) -> TlObject:
        now = self._chain.clock.now()
        return {
            "@type": "liteServer.version",
            "mode": 0,
            "version": VERSION,
            "capabilities": CAPABILITIES,
            "now": now,
        }

    def _get_masterchain_info(self, _query: TlObject) -> TlObject:
        last = self._chain.last
        return {
            "@type": "liteServer.masterchainInfo",
            "last": last.id.tl(),
            "state_root_hash": last.state_root_hash,
            "init": self._zero_state_id(),
        }

    def _get_masterchain_info_ext(self, query: TlObject) -> TlObject:
        return {
            **self._get_masterchain_info(query),
            "@type": "liteServer.masterchainInfoExt",
            "mode": query["mode"],
            "version": VERSION,
            "capabilities": CAPABILITIES,
            "last_utime": self._chain.last.utime,
            "now": self._chain.clock.now(),
        }

    def _get_block_proof(self, query: TlObject) -> TlObject:
        chain, evidence = self._chain, self._evidence
        source = self._find.block(query["known_block"], or_zero_state=True)
        wanted = query["mode"] & 1
        target = (
            self._find.block(query["target_block"], or_zero_state=True) if wanted else chain.last
        )
        if source.id.workchain != MASTERCHAIN or target.id.workchain != MASTERCHAIN:
            raise QueryError(
                PROTOCOL, "block proofs lead from masterchain block to masterchain block"
            )
        steps: list[TlObject] = []
        if target.id.seqno > source.id.seqno:
            anchor = source if source.is_key else chain.key_block
            if anchor is not source:
                steps.append(evidence.back_link(source, anchor))
            if anchor is chain.zero and target is not chain.key_block:
                steps.append(evidence.forward_link(anchor, chain.key_block))
                anchor = chain.key_block
            steps.append(evidence.forward_link(anchor, target))
        elif target is not source:
            steps.append(evidence.back_link(source, target))
        return {
            "@type": "liteServer.partialBlockProof",
            "complete": True,
            "from": source.id.tl(),
            "to": target.id.tl(),
            "steps": steps,
        }

    # State

    def _get_account_state(self, query: TlObject) -> TlObject:
        reference, account = self._find.block(query["id"]), query["account"]
        block = reference
        if reference.id.workchain == MASTERCHAIN and account["workchain"] != MASTERCHAIN:
            block = self._find.companion(reference)
        if account["workchain"] != block.id.workchain:
            raise QueryError(PROTOCOL, "the account is not in the shard of this block")
        proof = self._evidence.account(block, account["id"])
        value = (
            None
            if block.state is None
            else block.state.accounts.get(int.from_bytes(account["id"], "big"))
        )
        return {
            "@type": "liteServer.accountState",
            "id": reference.id.tl(),
            "shardblk": block.id.tl(),
            "shard_proof": b"" if block is reference else self._evidence.shard(reference),
            "proof": proof,
            "state": b"" if value is None else to_boc(value.refs[0]),
        }

    def _get_config_all(self, query: TlObject) -> TlObject:
        return self._config(query, None)

    def _get_config_params(self, query: TlObject) -> TlObject:
        return self._config(query, query["param_list"])

    def _config(self, query: TlObject, numbers: list[int] | None) -> TlObject:
        block = self._find.master(query["id"])
        return {
            "@type": "liteServer.configInfo",
            "mode": query["mode"],
            "id": block.id.tl(),
            "state_proof": block.header_proof,
            "config_proof": self._evidence.config(block, numbers),
        }

    def _get_libraries_with_proof(self, query: TlObject) -> TlObject:
        block = self._find.block(query["id"])
        return {
            "@type": "liteServer.libraryResultWithProof",
            "id": block.id.tl(),
            "mode": query["mode"],
            "result": [],
            "state_proof": block.header_proof,
            "data_proof": self._evidence.libraries(block),
        }

    # Blocks

    def _get_block(self, query: TlObject) -> TlObject:
        block = self._find.block(query["id"])
        return {"@type": "liteServer.blockData", "id": block.id.tl(), "data": block.boc}

    def _get_block_header(self, query: TlObject) -> TlObject:
        return _header(self._find.block(query["id"]), query["mode"])

    def _lookup_block(self, query: TlObject) -> TlObject:
        return _header(self._find.looked_up(query), query["mode"])

    def _lookup_block_with_proof(self, query: TlObject) -> TlObject:
        block, client = self._find.looked_up(query), self._find.master(query["mc_block_id"])
        master = block if block.id.workchain == MASTERCHAIN else self._find.companion(block)
        known = header = b""
        if master is not client:  # the names of these two fields mislead: the header comes first
            header, known = (
                client.header_proof,
                self._evidence.known_blocks(client, master.id.seqno),
            )
        links: list[TlObject] = []
        if master is not block:
            proof = self._evidence.shard_in_block(master)
            links.append(
                {"@type": "liteServer.shardBlockLink", "id": block.id.tl(), "proof": proof}
            )
        previous = b""
        if query["mode"] & (_BY_LT | _BY_UTIME):
            if block.id.seqno <= 1:
                raise QueryError(
                    NOT_FOUND,
                    "nothing proves that the first block is the one: a zero state has no header",
                )
            previous = self._find.at(block.id.workchain, block.id.seqno - 1).header_proof
        return {
            "@type": "liteServer.lookupBlockResult",
            "id": block.id.tl(),
            "mode": query["mode"],
            "mc_block_id": master.id.tl(),
            "client_mc_state_proof": header,
            "mc_block_proof": known,
            "shard_links": links,
            "header": block.header_proof,
            "prev_header": previous,
        }

    def _get_all_shards_info(self, query: TlObject) -> TlObject:
        block = self._find.master(query["id"])
        shards = block.root().refs[BLOCK_EXTRA].refs[EXTRA_CUSTOM].refs[CUSTOM_SHARDS]
        return {
            "@type": "liteServer.allShardsInfo",
            "id": block.id.tl(),
            "proof": self._evidence.shard_in_block(block),
            "data": to_boc(Builder().maybe_ref(shards).end()),
        }

    def _get_shard_block_proof(self, query: TlObject) -> TlObject:
        block = self._find.block(query["id"])
        master = self._find.companion(block)
        link = {
            "@type": "liteServer.shardBlockLink",
            "id": block.id.tl(),
            "proof": self._evidence.shard_in_block(master),
        }
        return {
            "@type": "liteServer.shardBlockProof",
            "masterchain_id": master.id.tl(),
            "links": [link],
        }


def _header(block: Block, mode: int) -> TlObject:
    return {
        "@type": "liteServer.blockHeader",
        "id": block.id.tl(),
        "mode": mode,
        "header_proof": block.header_proof,
    }
