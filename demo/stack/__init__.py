"""The processes of the demo: embedded parts, workers and a minter."""
