"""From mint tasks in PostgreSQL to tokens on TON and back: a pure lifecycle, a pytonlib shell around it."""
