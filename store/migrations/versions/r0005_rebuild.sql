-- A shadow's name is its counter's with a sign before it.
ALTER TABLE counter_definition ALTER COLUMN name TYPE varchar(65);

CREATE TABLE rebuild (
    id integer PRIMARY KEY,
    version integer NOT NULL,
    state varchar(16) NOT NULL,
    counters jsonb NOT NULL,
    digest bytea,
    next_slice integer DEFAULT 0 NOT NULL,
    filled bigint DEFAULT 0 NOT NULL,
    accepted bigint DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT rebuild_state_check CHECK (state IN ('open', 'swapped', 'closing', 'done')),
    CONSTRAINT rebuild_version_fkey FOREIGN KEY (version) REFERENCES catalog_version (id)
);
CREATE UNIQUE INDEX rebuild_one_open_key ON rebuild ((true)) WHERE state <> 'done';

CREATE TABLE rebuild_event (
    event_key uuid PRIMARY KEY
);
