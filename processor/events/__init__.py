"""From the bytes of a record to an event, a command, a wallet change or a rejection. Pure."""
