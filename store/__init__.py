"""The only SQL: tables, migrations, and functions that take a connection first."""
