"""What PostgreSQL itself says of the tables, to be compared with other tables."""

from typing import Any

from sqlalchemy import text

from store.engine import Connection

# Everything that PostgreSQL knows of a table beyond its name, as text: columns with type, default
# and nullability; constraints; indexes.
SHAPE = text("""
    SELECT class.relname AS table_name, 'column' AS kind, attname AS name,
           concat_ws(' ', format_type(atttypid, atttypmod),
                     CASE WHEN attnotnull THEN 'not null' END, attidentity,
                     pg_get_expr(adbin, adrelid)) AS definition
      FROM pg_attribute
           JOIN pg_class AS class ON class.oid = attrelid
           LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attnum > 0 AND NOT attisdropped AND class.relkind = 'r'
       AND class.relnamespace = CAST(CAST(:schema AS text) AS regnamespace)
     UNION ALL
    SELECT class.relname, 'constraint', conname, pg_get_constraintdef(con.oid)
      FROM pg_constraint AS con JOIN pg_class AS class ON class.oid = conrelid
     WHERE connamespace = CAST(CAST(:schema AS text) AS regnamespace)
     UNION ALL
    SELECT tablename, 'index', indexname, replace(indexdef, schemaname || '.', '')
      FROM pg_indexes WHERE schemaname = CAST(:schema AS text)
     UNION ALL
    SELECT relname, 'options', '', array_to_string(reloptions, ',')
      FROM pg_class
     WHERE reloptions IS NOT NULL
       AND relnamespace = CAST(CAST(:schema AS text) AS regnamespace)
""")


async def shape(conn: Connection, schema: str) -> set[tuple[Any, ...]]:
    rows = await conn.execute(SHAPE, {"schema": schema})
    return {tuple(row) for row in rows if row.table_name != "alembic_version"}
