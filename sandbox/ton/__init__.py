"""A TON network on a laptop.

One validator, one shard, the real virtual machine, real proofs, spoken to by unmodified TON
clients.

From the wire inwards: adnl (transport), tl (messages), server (requests); chain and collator
(blocks, states, transactions), evidence (what convinces a client), emulator (the virtual machine);
below them cells, boc, dictionaries and proofs. network.py puts it together, process.py runs it as a
process of its own. docs/ton-network.md tells the story.
"""
