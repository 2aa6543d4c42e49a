"""What the connecting role may do in the database, and the GRANT for what it may not.

Asked at the start, and by `laurel db upgrade` before it makes tables. A right that is missing would
otherwise show at the first statement that needs it, which may be days later (a temporary table, a
first dead letter).
"""

from sqlalchemy import text

from ops.errors import UsageError
from store.engine import Connection
from store.models import Base

# The audit log only grows, and nobody but `laurel db upgrade` writes a revision.
_LESS = {"nft_audit_log": ["SELECT", "INSERT"], "alembic_version": ["SELECT"]}
_ALL = ["SELECT", "INSERT", "UPDATE", "DELETE"]

# A schema without USAGE is not in the search path, as if it had no tables; the system catalogs show
# them all the same. Identity columns need no right on their sequences.
MISSING = text("""
    WITH schema AS (
         SELECT relnamespace AS oid FROM pg_class
          WHERE relname = 'alembic_version'
            AND (oid = to_regclass('alembic_version')
                 OR to_regclass('alembic_version') IS NULL
                    AND NOT has_schema_privilege(relnamespace, 'USAGE'))),
         wanted AS (
         SELECT * FROM unnest(CAST(:tables AS text[]), CAST(:privileges AS text[]))
                           AS pair(relname, privilege)),
         lacking AS (
         SELECT format('%I.%I', nspname, relname) AS place,
                string_agg(privilege, ', ' ORDER BY privilege) AS privileges
           FROM schema JOIN pg_namespace USING (oid)
                JOIN pg_class AS class ON class.relnamespace = schema.oid
                JOIN wanted USING (relname)
          WHERE NOT has_table_privilege(class.oid, privilege)
          GROUP BY nspname, relname)
    SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I;', current_database(), current_user)
     WHERE CAST(:temporary AS boolean)
       AND NOT has_database_privilege(current_database(), 'TEMPORARY')
     UNION ALL
    SELECT format('GRANT USAGE ON SCHEMA %I TO %I;', nspname, current_user)
      FROM schema JOIN pg_namespace USING (oid)
     WHERE NOT has_schema_privilege(oid, 'USAGE')
     UNION ALL
    SELECT format('GRANT %s ON %s TO %I;', privileges,
                  string_agg(place, ', ' ORDER BY place), current_user)
      FROM lacking GROUP BY privileges
""")


# Where new tables would go. A schema that may not be used is not current: it is looked for by name.
_NEW_TABLES = text("""
    SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I;', nspname, current_user)
      FROM pg_namespace
     WHERE nspname = coalesce(current_schema(), (
               SELECT part FROM unnest(string_to_array(current_setting('search_path'), ', '))
                           WITH ORDINALITY AS path(part, place)
                      JOIN pg_namespace ON nspname = btrim(part, '"')
                ORDER BY place LIMIT 1))
       AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'))
""")


# Schemas of the search path in which some of the tables are found, and others in another one.
_SCATTERED = text("""
    SELECT nspname, string_agg(relname, ', ' ORDER BY relname) AS tables
      FROM unnest(CAST(:tables AS text[])) AS wanted (name)
           JOIN pg_class AS class ON class.oid = to_regclass(quote_ident(wanted.name))
           JOIN pg_namespace AS schema ON schema.oid = relnamespace
     WHERE relnamespace <> (SELECT relnamespace FROM pg_class
                             WHERE oid = to_regclass('alembic_version'))
     GROUP BY nspname ORDER BY nspname
""")
_HOME = text("""
    SELECT nspname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
     WHERE pg_class.oid = to_regclass('alembic_version')
""")
_CURRENT_SCHEMA = text("SELECT current_schema(), current_setting('search_path')")


class RightsMissing(UsageError):
    """The role that LAUREL_DATABASE_URL names may not do what Laurel has to do."""

    code = "rights_missing"


async def check_search_path(conn: Connection) -> None:
    """Return when the search path of `conn` finds all tables that are there in one schema.

    Raises:
        UsageError: another schema before theirs has tables of these names.
    """
    home = (await conn.execute(_HOME)).scalar_one_or_none()
    found = (await conn.execute(_SCATTERED, {"tables": sorted(Base.metadata.tables)})).all()
    if found:
        places = "; ".join(f"in {each.nspname} {each.tables}" for each in found)
        raise UsageError(
            f"Laurel's tables are in the schema {home}, and the search path finds others of their "
            f"names before them: {places}. Let it name {home} alone, for the role (ALTER ROLE ... "
            f"SET search_path = {home}) or in LAUREL_DATABASE_URL (?options=-csearch_path={home})."
        )


async def check_creation(conn: Connection) -> None:
    """Return when the role of `conn` may make tables where the search path says.

    Raises:
        RightsMissing: the message holds the statement to run.
        UsageError: the search path names no schema that there is.
    """
    statement = (await conn.execute(_NEW_TABLES)).scalar_one_or_none()
    if statement is not None:
        raise RightsMissing(
            "The role of LAUREL_DATABASE_URL may make no tables. Run as the owner of the "
            f"database, or run `laurel db upgrade` as that: {statement}"
        )
    schema, path = (await conn.execute(_CURRENT_SCHEMA)).one()
    if schema is None:
        raise UsageError(
            f"The search path, {path or 'which is empty'}, names no schema that there is: tables "
            "can be made nowhere. Create the schema, or set search_path for the role."
        )


async def check(conn: Connection, *, temporary: bool) -> None:
    """Return when the role of `conn` has every right that a process needs.

    Tables that are not there yet are not asked about.

    Args:
        conn: of the role.
        temporary: whether the process counts, and so makes temporary tables; the minter does not.

    Raises:
        RightsMissing: the message holds the statements to run.
        UsageError: as `check_search_path`.
    """
    await check_search_path(conn)
    tables = [*Base.metadata.tables, "alembic_version"]
    pairs = [(table, privilege) for table in tables for privilege in _LESS.get(table, _ALL)]
    parameters = {
        "tables": [table for table, _ in pairs],
        "privileges": [privilege for _, privilege in pairs],
        "temporary": temporary,
    }
    statements = (await conn.execute(MISSING, parameters)).scalars().all()
    if statements:
        raise RightsMissing(
            "The role of LAUREL_DATABASE_URL lacks rights. Run as the owner of the tables: "
            + " ".join(statements)
        )
