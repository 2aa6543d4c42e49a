ALTER TABLE counter_definition ADD COLUMN first_version integer;
-- A counter that was taken away before it counted, and came back, begins where it came back.
UPDATE counter_definition AS counter
   SET first_version = 1 + coalesce((
       SELECT max(version.id) FROM catalog_version AS version
        WHERE NOT version.document -> 'counters'
                  @> jsonb_build_array(jsonb_build_object('name', counter.name))), 0);
ALTER TABLE counter_definition ALTER COLUMN first_version SET NOT NULL;

CREATE TABLE counter_fill (
    counter_id smallint PRIMARY KEY,
    state varchar(16) DEFAULT 'open' NOT NULL,
    silent boolean DEFAULT false NOT NULL,
    no_mint boolean DEFAULT false NOT NULL,
    source_digest bytea,
    slices integer DEFAULT 0 NOT NULL,
    slices_done integer DEFAULT 0 NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    users bigint DEFAULT 0 NOT NULL,
    awarded bigint DEFAULT 0 NOT NULL,
    raised bigint DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT counter_fill_counter_id_fkey
        FOREIGN KEY (counter_id) REFERENCES counter_definition (id),
    CONSTRAINT counter_fill_slices_check CHECK (slices_done <= slices),
    CONSTRAINT counter_fill_state_check CHECK (state IN ('open', 'closing', 'closed', 'undoing'))
);

CREATE TABLE fill_event (
    counter_id smallint,
    event_key uuid,
    PRIMARY KEY (counter_id, event_key)
);

CREATE TABLE fill_progress (
    counter_id smallint,
    user_id uuid,
    amount numeric NOT NULL,
    latest timestamptz NOT NULL,
    PRIMARY KEY (counter_id, user_id)
);

CREATE TABLE fill_member (
    counter_id smallint,
    user_id uuid,
    member text COLLATE "C",
    posted boolean NOT NULL,
    undone boolean NOT NULL,
    PRIMARY KEY (counter_id, user_id, member)
);
