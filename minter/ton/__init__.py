"""TON as the minter speaks it: tokens, wallet, key, and the chain through pytonlib."""
