"""Answer a lite server's queries about transactions, and take external messages."""

from sandbox.ton.answers import FAILURE, NOT_FOUND, PROTOCOL, BlockFinder, Method, QueryError
from sandbox.ton.blocks import Block
from sandbox.ton.boc import from_boc, to_boc
from sandbox.ton.cells import Cell
from sandbox.ton.chain import Chain, Rejected
from sandbox.ton.evidence import Evidence
from sandbox.ton.tl import TlObject

_TRANSACTIONS_MAX = 16
_LISTED_MAX = 256
_UNSIGNED_64 = (1 << 64) - 1
# modes of listBlockTransactions; the three lowest bits say which fields of an id are wanted
_ID_FIELDS, _WANT_PROOF, _REVERSED, _AFTER = 7, 32, 64, 128
_TAKEN = 1


class HistoryAnswers:
    """Answers about transactions, and `sendMessage`."""

    def __init__(self, chain: Chain, evidence: Evidence, find: BlockFinder) -> None:
        self._chain, self._evidence, self._find = chain, evidence, find
        self.methods: dict[str, Method] = {
            "liteServer.getTransactions": self._get_transactions,
            "liteServer.getOneTransaction": self._get_one_transaction,
            "liteServer.listBlockTransactions": self._list_block_transactions,
            "liteServer.listBlockTransactionsExt": self._list_block_transactions_ext,
            "liteServer.sendMessage": self._send_message,
        }

    def _send_message(self, query: TlObject) -> TlObject:
        try:
            self._chain.submit(query["body"])
        except Rejected as error:
            raise QueryError(FAILURE, error.message) from error
        return {"@type": "liteServer.sendMsgStatus", "status": _TAKEN}

    def _get_transactions(self, query: TlObject) -> TlObject:
        """Follow an account's chain of transactions backwards from (lt, hash)."""
        account, lt, wanted = query["account"]["id"], query["lt"] & _UNSIGNED_64, query["hash"]
        ids: list[TlObject] = []
        cells: list[Cell] = []
        while lt and len(cells) < min(query["count"], _TRANSACTIONS_MAX):
            stored = self._chain.transactions.get((account, lt))
            if stored is None:
                raise QueryError(
                    PROTOCOL, "cannot locate transaction in block with specified logical time"
                )
            if stored.hash != wanted:
                raise QueryError(PROTOCOL, "transaction hash mismatch")
            ids.append(stored.block.tl())
            cells.append(from_boc(stored.boc))
            lt, wanted = stored.previous_lt, stored.previous_hash
        return {
            "@type": "liteServer.transactionList",
            "ids": ids,
            "transactions": to_boc(*cells) if cells else b"",
        }

    def _get_one_transaction(self, query: TlObject) -> TlObject:
        block = self._find.block(query["id"])
        stored = self._chain.transactions.get((query["account"]["id"], query["lt"]))
        if stored is None or stored.block != block.id:
            raise QueryError(NOT_FOUND, "the transaction is not in this block")
        return {
            "@type": "liteServer.transactionInfo",
            "id": block.id.tl(),
            "proof": self._evidence.transactions(block),
            "transaction": to_boc(from_boc(stored.boc)),
        }

    def _list_block_transactions(self, query: TlObject) -> TlObject:
        block, listed, incomplete = self._listed(query)
        mode = query["mode"]
        return {
            "@type": "liteServer.blockTransactions",
            "id": block.id.tl(),
            "req_count": query["count"],
            "incomplete": incomplete,
            "ids": [
                {
                    "@type": "liteServer.transactionId",
                    "mode": mode & _ID_FIELDS,
                    "account": account,
                    "lt": lt,
                    "hash": transaction_hash,
                }
                for account, lt, transaction_hash in listed
            ],
            "proof": self._evidence.transactions(block) if mode & _WANT_PROOF else b"",
        }

    def _list_block_transactions_ext(self, query: TlObject) -> TlObject:
        block, listed, incomplete = self._listed(query)
        cells = [from_boc(self._chain.transactions[account, lt].boc) for account, lt, _ in listed]
        return {
            "@type": "liteServer.blockTransactionsExt",
            "id": block.id.tl(),
            "req_count": query["count"],
            "incomplete": incomplete,
            "transactions": to_boc(*cells) if cells else b"",
            "proof": self._evidence.transactions(block) if query["mode"] & _WANT_PROOF else b"",
        }

    def _listed(self, query: TlObject) -> tuple[Block, list[tuple[bytes, int, bytes]], bool]:
        """Return the block, a page of its transactions, and whether more follow.

        They are ordered by account and logical time.
        """
        block, mode = self._find.block(query["id"]), query["mode"]
        found = list(block.transactions)
        if mode & _REVERSED:
            found.reverse()
        if mode & _AFTER:
            after = (query["after"]["account"], query["after"]["lt"] & _UNSIGNED_64)
            found = [
                item
                for item in found
                if (item[:2] < after if mode & _REVERSED else item[:2] > after)
            ]
        count = min(query["count"], _LISTED_MAX)
        return block, found[:count], len(found) > count
