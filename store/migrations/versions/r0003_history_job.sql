CREATE TABLE history_job (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind varchar(16) NOT NULL,
    digest bytea NOT NULL,
    sources text[] NOT NULL,
    options jsonb NOT NULL,
    catalog_version integer NOT NULL,
    slices integer NOT NULL,
    done integer DEFAULT 0 NOT NULL,
    read bigint NOT NULL,
    counted bigint DEFAULT 0 NOT NULL,
    duplicates bigint NOT NULL,
    refused bigint NOT NULL,
    conflicts bigint[] DEFAULT '{}' NOT NULL,
    levels jsonb DEFAULT '{}' NOT NULL,
    mints bigint DEFAULT 0 NOT NULL,
    state varchar(16) DEFAULT 'open' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT history_job_pkey PRIMARY KEY (id),
    CONSTRAINT history_job_kind_check CHECK (kind IN ('backfill', 'fill', 'rebuild')),
    CONSTRAINT history_job_state_check CHECK (state IN ('open', 'done', 'superseded')),
    CONSTRAINT history_job_done_check CHECK (done BETWEEN 0 AND slices)
);

CREATE UNIQUE INDEX history_job_one_open_key ON history_job (kind, digest) WHERE state = 'open';
