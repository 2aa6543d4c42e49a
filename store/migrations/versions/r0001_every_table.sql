-- Every table of the first release: store/models.py as SQL. tests/store/test_migrations.py holds
-- both equal. The same on PostgreSQL 15 to 18.

CREATE TABLE achievement_category (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    tenant_id uuid NOT NULL,
    slug varchar(64) NOT NULL,
    name_i18n jsonb DEFAULT '{}' NOT NULL,
    "order" integer DEFAULT 0 NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT achievement_category_tenant_id_slug_key UNIQUE (tenant_id, slug)
);
CREATE INDEX achievement_category_slug_idx ON achievement_category (slug);
CREATE INDEX achievement_category_tenant_id_idx ON achievement_category (tenant_id);

CREATE TABLE catalog_version (
    id integer PRIMARY KEY,
    content_hash bytea NOT NULL,
    document jsonb NOT NULL,
    is_current boolean NOT NULL,
    applied_at timestamptz DEFAULT now() NOT NULL
);
CREATE UNIQUE INDEX catalog_version_one_current_key
    ON catalog_version (is_current) WHERE is_current;

CREATE TABLE catalog_job (
    version integer PRIMARY KEY,
    work jsonb NOT NULL,
    silent boolean NOT NULL,
    no_mint boolean NOT NULL,
    state varchar(16) NOT NULL,
    done_to uuid,
    users bigint DEFAULT 0 NOT NULL,
    awarded bigint DEFAULT 0 NOT NULL,
    raised bigint DEFAULT 0 NOT NULL,
    rewritten bigint DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT catalog_job_state_check
        CHECK (state IN ('counters', 'levels', 'metadata', 'done', 'superseded')),
    CONSTRAINT catalog_job_version_fkey FOREIGN KEY (version) REFERENCES catalog_version (id)
);
CREATE UNIQUE INDEX catalog_job_one_open_key
    ON catalog_job ((true)) WHERE state IN ('counters', 'levels', 'metadata');

CREATE TABLE chain_wallet (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    address text NOT NULL,
    public_key bytea NOT NULL,
    subwallet_id bigint NOT NULL,
    timeout_s integer NOT NULL,
    zero_state_hash bytea NOT NULL,
    next_query_seq bigint DEFAULT 0 NOT NULL,
    seqno_seen bigint DEFAULT 0 NOT NULL,
    deployed_at timestamptz,
    database_epoch text,
    server_started_at timestamptz,
    accounted_lt bigint DEFAULT 0 NOT NULL,
    shut_reason text,
    shut_until timestamptz,
    shut_needs_repair boolean DEFAULT false NOT NULL,
    repair_asked boolean DEFAULT false NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT chain_wallet_hashes_check
        CHECK (length(zero_state_hash) = 32 AND length(public_key) = 32),
    CONSTRAINT chain_wallet_shut_check
        CHECK ((shut_reason IS NULL) = (shut_until IS NULL)
               AND (shut_reason IS NOT NULL OR NOT shut_needs_repair)
               AND (shut_reason IS NOT NULL OR NOT repair_asked))
);
CREATE UNIQUE INDEX chain_wallet_single_key ON chain_wallet ((true));

CREATE TABLE command_log (
    external_id text PRIMARY KEY,
    content_hash bytea NOT NULL,
    type varchar(128) NOT NULL,
    nft_instance_id uuid,
    silent boolean DEFAULT false NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT command_log_type_check
        CHECK (type IN ('badge.award', 'badge.mint', 'badge.burn', 'badge.revoke'))
);

CREATE TABLE counter_definition (
    id smallint PRIMARY KEY,
    name varchar(64) NOT NULL,
    kind varchar(16) NOT NULL,
    event_type varchar(128) NOT NULL,
    field varchar(64),
    filter jsonb,
    undo_event_type varchar(128),
    undo_field varchar(64),
    has_counted boolean DEFAULT false NOT NULL,
    CONSTRAINT counter_definition_kind_check CHECK (kind IN ('count', 'distinct', 'sum', 'max')),
    CONSTRAINT counter_definition_name_key UNIQUE (name)
);

CREATE TABLE dedupe_floor (
    is_only boolean DEFAULT true PRIMARY KEY,
    floor date NOT NULL,
    CONSTRAINT dedupe_floor_is_only_check CHECK (is_only)
);

CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_timestamp_ms bigint NOT NULL,
    key bytea,
    value bytea,
    value_length bigint NOT NULL,
    value_sha256 bytea NOT NULL,
    content_sha256 bytea NOT NULL,
    headers jsonb DEFAULT '[]' NOT NULL,
    reason varchar(64) NOT NULL,
    detail text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    published_at timestamptz,
    CONSTRAINT dead_letter_reason_check CHECK (reason IN (
        'no_value', 'not_json', 'unreadable', 'too_large', 'refused_by_database', 'content_type',
        'bad_envelope', 'bad_specversion', 'bad_subject',
        'bad_tenant', 'bad_time', 'too_new', 'too_old', 'bad_text', 'unknown_type', 'wrong_topic',
        'bad_data', 'missing_field', 'null_field', 'bad_field', 'bad_address',
        'event_id_conflict', 'unsupported_command', 'external_id_conflict', 'unknown_badge_type',
        'no_such_badge', 'not_active', 'policy_rejected', 'unknown_level', 'no_token')),
    CONSTRAINT dead_letter_record_key UNIQUE (
        cluster_id, topic, partition, "offset", record_timestamp_ms, content_sha256)
);
CREATE INDEX dead_letter_reason_idx ON dead_letter (reason);

CREATE TABLE waiting_command (
    external_id text PRIMARY KEY,
    content_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    command jsonb NOT NULL,
    silent boolean NOT NULL,
    reason varchar(64) NOT NULL,
    detail text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_timestamp_ms bigint NOT NULL,
    key bytea,
    value bytea,
    value_length bigint NOT NULL,
    value_sha256 bytea NOT NULL,
    content_sha256 bytea NOT NULL,
    headers jsonb NOT NULL,
    CONSTRAINT waiting_command_reason_check CHECK (reason IN ('no_such_badge', 'no_token'))
);
CREATE INDEX waiting_command_user_id_idx ON waiting_command (user_id);
CREATE INDEX waiting_command_expires_at_external_id_idx ON waiting_command (expires_at, external_id);

CREATE TABLE nft_audit_log (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    nft_instance_id uuid,
    action varchar(32) NOT NULL,
    actor_service text NOT NULL,
    details jsonb DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_audit_log_action_check
        CHECK (action IN ('created', 'level_up', 'metadata_updated', 'submitted_onchain',
                          'minted_onchain', 'burned_onchain', 'revoked'))
);
CREATE INDEX nft_audit_log_nft_instance_id_idx ON nft_audit_log (nft_instance_id);

CREATE TABLE nft_type (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    code varchar(64) NOT NULL,
    title varchar(255) NOT NULL,
    description text NOT NULL,
    category varchar(32) NOT NULL,
    base_image_url text NOT NULL,
    is_onchain_capable boolean NOT NULL,
    default_onchain_policy varchar(32) NOT NULL,
    metadata_schema jsonb NOT NULL,
    onchain_min_rarity varchar(16) DEFAULT 'rare' NOT NULL,
    i18n jsonb DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_type_category_check
        CHECK (category IN ('traveler', 'pro_creator', 'rf_reputation', 'referral', 'system')),
    CONSTRAINT nft_type_default_onchain_policy_check
        CHECK (default_onchain_policy IN ('never', 'rare_and_above', 'by_user_request', 'always')),
    CONSTRAINT nft_type_onchain_min_rarity_check
        CHECK (onchain_min_rarity IN ('common', 'uncommon', 'rare', 'epic', 'legendary')),
    CONSTRAINT nft_type_code_key UNIQUE (code)
);

CREATE TABLE offset_ledger (
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    last_offset bigint,
    last_timestamp_ms bigint,
    topic_id uuid,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT offset_ledger_pkey PRIMARY KEY (cluster_id, topic, partition),
    CONSTRAINT offset_ledger_next_offset_check CHECK (next_offset >= 0)
);

CREATE TABLE partition_decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    action varchar(16) NOT NULL,
    pause_reason varchar(32),
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    topic_id uuid,
    reason text,
    actor text NOT NULL,
    decided_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT partition_decision_action_check CHECK (action IN ('resumed', 'skipped')),
    CONSTRAINT partition_decision_pause_reason_check CHECK (pause_reason IN (
        'records_removed', 'topic_ends_early', 'topic_recreated', 'undecodable_batch',
        'refused_by_database', 'invariant_broken'))
);

CREATE TABLE paused_partition (
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    reason varchar(32) NOT NULL,
    detail text NOT NULL,
    skip_to bigint,
    topic_id uuid,
    paused_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT paused_partition_pkey PRIMARY KEY (cluster_id, topic, partition),
    CONSTRAINT paused_partition_reason_check CHECK (reason IN (
        'records_removed', 'topic_ends_early', 'topic_recreated', 'undecodable_batch',
        'refused_by_database', 'invariant_broken'))
);

CREATE TABLE outbox_message (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    tenant_id uuid NOT NULL,
    event_type varchar(128) NOT NULL,
    payload jsonb DEFAULT '{}' NOT NULL,
    occurred_at timestamptz NOT NULL,
    published_at timestamptz,
    user_id uuid NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT outbox_message_event_type_check CHECK (event_type IN (
        'badge.created', 'badge.leveled_up', 'badge.minted', 'badge.burned', 'badge.revoked',
        'achievement.granted', 'achievement.revoked')),
    CONSTRAINT outbox_message_user_id_seq_key UNIQUE (user_id, seq)
);
CREATE INDEX outbox_message_tenant_id_idx ON outbox_message (tenant_id);
CREATE INDEX outbox_message_unpublished_idx
    ON outbox_message (user_id, seq) WHERE published_at IS NULL;

CREATE TABLE outbox_sequence (
    user_id uuid PRIMARY KEY,
    last_seq bigint NOT NULL
);

CREATE TABLE processed_event (
    event_key uuid PRIMARY KEY,
    first_version integer NOT NULL,
    fingerprint integer NOT NULL,
    occurred_on date NOT NULL,
    silent boolean NOT NULL
);

CREATE TABLE user_wallet (
    user_id uuid NOT NULL,
    address text NOT NULL,
    linked_at timestamptz,
    unlinked_at timestamptz,
    test_only boolean DEFAULT false NOT NULL,
    CONSTRAINT user_wallet_pkey PRIMARY KEY (user_id, address),
    CONSTRAINT user_wallet_seen_check CHECK (linked_at IS NOT NULL OR unlinked_at IS NOT NULL)
);

CREATE TABLE achievement (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    tenant_id uuid NOT NULL,
    name_i18n jsonb DEFAULT '{}' NOT NULL,
    description text NOT NULL,
    category_id uuid NOT NULL,
    status varchar(16) NOT NULL,
    images jsonb DEFAULT '{}' NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT achievement_status_check
        CHECK (status IN ('draft', 'published', 'hidden', 'active')),
    CONSTRAINT achievement_category_id_fkey
        FOREIGN KEY (category_id) REFERENCES achievement_category (id) ON DELETE RESTRICT
);
CREATE INDEX achievement_category_id_idx ON achievement (category_id);
CREATE INDEX achievement_tenant_id_idx ON achievement (tenant_id);

CREATE TABLE chain_collection (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type_id uuid NOT NULL,
    chain_wallet_id uuid NOT NULL,
    address text NOT NULL,
    content_uri text NOT NULL,
    item_prefix text NOT NULL,
    next_index bigint DEFAULT 0 NOT NULL,
    stopped_reason text,
    breaker text,
    accepted_badges uuid[] DEFAULT '{}' NOT NULL,
    deployed_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT chain_collection_next_index_check CHECK (next_index >= 0),
    CONSTRAINT chain_collection_type_id_key UNIQUE (type_id),
    CONSTRAINT chain_collection_type_id_fkey FOREIGN KEY (type_id) REFERENCES nft_type (id),
    CONSTRAINT chain_collection_chain_wallet_id_fkey
        FOREIGN KEY (chain_wallet_id) REFERENCES chain_wallet (id),
    CONSTRAINT chain_collection_address_key UNIQUE (address)
);

CREATE TABLE collection_decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type_code varchar(64) NOT NULL,
    stopped_reason text NOT NULL,
    reason text,
    actor text NOT NULL,
    decided_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE nft_level_rule (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type_id uuid NOT NULL,
    level integer NOT NULL,
    title varchar(255) NOT NULL,
    description text NOT NULL,
    rarity varchar(16) NOT NULL,
    image_url text,
    conditions jsonb NOT NULL,
    auto_mint_onchain boolean NOT NULL,
    "order" integer NOT NULL,
    onchain_policy varchar(32),
    i18n jsonb DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_level_rule_type_id_level_key UNIQUE (type_id, level),
    CONSTRAINT nft_level_rule_type_id_order_key UNIQUE (type_id, "order"),
    CONSTRAINT nft_level_rule_rarity_check
        CHECK (rarity IN ('common', 'uncommon', 'rare', 'epic', 'legendary')),
    CONSTRAINT nft_level_rule_onchain_policy_check
        CHECK (onchain_policy IS NULL
               OR onchain_policy IN ('never', 'rare_and_above', 'by_user_request', 'always')),
    CONSTRAINT nft_level_rule_level_check CHECK (level >= 1),
    CONSTRAINT nft_level_rule_type_id_fkey FOREIGN KEY (type_id) REFERENCES nft_type (id)
);

CREATE TABLE nft_progress (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type_id uuid NOT NULL,
    user_id uuid NOT NULL,
    counters jsonb DEFAULT '{}' NOT NULL,
    last_event_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_progress_user_id_type_id_key UNIQUE (user_id, type_id),
    CONSTRAINT nft_progress_type_id_fkey FOREIGN KEY (type_id) REFERENCES nft_type (id)
) WITH (fillfactor = 70);
CREATE INDEX nft_progress_type_id_idx ON nft_progress (type_id);

CREATE TABLE progress_member (
    user_id uuid NOT NULL,
    counter_id smallint NOT NULL,
    member text COLLATE "C" NOT NULL,
    posted boolean NOT NULL,
    undone boolean DEFAULT false NOT NULL,
    CONSTRAINT progress_member_pkey PRIMARY KEY (user_id, counter_id, member)
);

CREATE TABLE achievement_grant (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    tenant_id uuid NOT NULL,
    achievement_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    reason text NOT NULL,
    visibility varchar(16) NOT NULL,
    revoked_at timestamptz,
    revoked_by uuid,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT achievement_grant_visibility_check CHECK (visibility IN ('public', 'private')),
    CONSTRAINT achievement_grant_revoked_check CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
    CONSTRAINT achievement_grant_achievement_id_fkey
        FOREIGN KEY (achievement_id) REFERENCES achievement (id) ON DELETE CASCADE
);
CREATE INDEX achievement_grant_issuer_id_idx ON achievement_grant (issuer_id);
CREATE UNIQUE INDEX achievement_grant_one_standing_key
    ON achievement_grant (achievement_id, recipient_id, issuer_id) WHERE revoked_at IS NULL;
CREATE INDEX achievement_grant_recipient_id_idx ON achievement_grant (recipient_id);
CREATE INDEX achievement_grant_tenant_id_idx ON achievement_grant (tenant_id);

CREATE TABLE chain_message (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    chain_wallet_id uuid NOT NULL,
    chain_collection_id uuid NOT NULL,
    kind varchar(16) NOT NULL,
    status varchar(16) DEFAULT 'unresolved' NOT NULL,
    query_seq bigint NOT NULL,
    signed_at timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    boc bytea NOT NULL,
    message_hash bytea NOT NULL,
    send_count integer DEFAULT 0 NOT NULL,
    last_sent_at timestamptz,
    settled_seqno bigint,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT chain_message_kind_check CHECK (kind IN ('deploy', 'mint', 'burn')),
    CONSTRAINT chain_message_status_check CHECK (status IN ('unresolved', 'settled', 'void')),
    CONSTRAINT chain_message_chain_wallet_id_query_seq_key UNIQUE (chain_wallet_id, query_seq),
    CONSTRAINT chain_message_chain_wallet_id_fkey
        FOREIGN KEY (chain_wallet_id) REFERENCES chain_wallet (id),
    CONSTRAINT chain_message_chain_collection_id_fkey
        FOREIGN KEY (chain_collection_id) REFERENCES chain_collection (id)
);
CREATE INDEX chain_message_chain_collection_id_query_seq_idx
    ON chain_message (chain_collection_id, query_seq);
CREATE INDEX chain_message_message_hash_idx ON chain_message (message_hash);
CREATE UNIQUE INDEX chain_message_one_unresolved_key
    ON chain_message (chain_collection_id) WHERE status = 'unresolved';

CREATE TABLE nft_instance (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type_id uuid NOT NULL,
    user_id uuid NOT NULL,
    current_level integer NOT NULL,
    status varchar(16) DEFAULT 'active' NOT NULL,
    onchain_token_id text,
    onchain_status varchar(16) DEFAULT 'not_minted' NOT NULL,
    metadata jsonb DEFAULT '{}' NOT NULL,
    external_id text,
    source_service text NOT NULL,
    source_event_id text,
    tenant_id uuid NOT NULL,
    ordinal smallint DEFAULT 1 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_instance_type_id_current_level_fkey
        FOREIGN KEY (type_id, current_level) REFERENCES nft_level_rule (type_id, level),
    CONSTRAINT nft_instance_status_check CHECK (status IN ('active', 'revoked', 'burned_onchain')),
    CONSTRAINT nft_instance_onchain_status_check
        CHECK (onchain_status IN ('not_minted', 'pending', 'minted', 'failed')),
    CONSTRAINT nft_instance_onchain_token_id_check
        CHECK (onchain_token_id ~ '^-?[0-9]+:[0-9a-f]{64}$'),
    CONSTRAINT nft_instance_type_id_fkey FOREIGN KEY (type_id) REFERENCES nft_type (id),
    CONSTRAINT nft_instance_onchain_token_id_key UNIQUE (onchain_token_id),
    CONSTRAINT nft_instance_external_id_key UNIQUE (external_id),
    CONSTRAINT nft_instance_ordinal_check CHECK (ordinal >= 1),
    CONSTRAINT nft_instance_user_id_type_id_ordinal_key UNIQUE (user_id, type_id, ordinal)
);
CREATE UNIQUE INDEX nft_instance_one_active_key
    ON nft_instance (user_id, type_id) WHERE status = 'active';
CREATE INDEX nft_instance_type_id_current_level_idx ON nft_instance (type_id, current_level);
CREATE INDEX nft_instance_type_id_idx ON nft_instance (type_id);
CREATE INDEX nft_instance_user_id_idx ON nft_instance (user_id);
CREATE INDEX nft_instance_user_id_type_id_idx ON nft_instance (user_id, type_id);

CREATE TABLE silenced_badge (
    nft_instance_id uuid PRIMARY KEY,
    message varchar(128),
    mint boolean NOT NULL,
    CONSTRAINT silenced_badge_message_check
        CHECK (message IS NULL OR message IN ('badge.created', 'badge.leveled_up')),
    CONSTRAINT silenced_badge_left_out_check CHECK (message IS NOT NULL OR mint),
    CONSTRAINT silenced_badge_nft_instance_id_fkey
        FOREIGN KEY (nft_instance_id) REFERENCES nft_instance (id)
);

CREATE TABLE nft_level_achievement (
    level_rule_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    achievement_id uuid NOT NULL,
    CONSTRAINT nft_level_achievement_pkey PRIMARY KEY (level_rule_id, tenant_id),
    CONSTRAINT nft_level_achievement_level_rule_id_fkey
        FOREIGN KEY (level_rule_id) REFERENCES nft_level_rule (id),
    CONSTRAINT nft_level_achievement_achievement_id_fkey
        FOREIGN KEY (achievement_id) REFERENCES achievement (id)
);

CREATE TABLE nft_mint_queue (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    nft_instance_id uuid NOT NULL,
    type_id uuid NOT NULL,
    status varchar(16) DEFAULT 'pending' NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    last_error text,
    operation varchar(16) DEFAULT 'mint' NOT NULL,
    recipient text,
    chain_collection_id uuid,
    token_index bigint,
    chain_message_id uuid,
    run_after timestamptz DEFAULT now() NOT NULL,
    hold_reason varchar(16),
    priority smallint DEFAULT 0 NOT NULL,
    lease_token uuid,
    lease_expires_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT nft_mint_queue_status_check
        CHECK (status IN ('pending', 'sent', 'confirmed', 'failed')),
    CONSTRAINT nft_mint_queue_operation_check CHECK (operation IN ('mint', 'burn', 'revoke_second')),
    CONSTRAINT nft_mint_queue_hold_reason_check
        CHECK (hold_reason IS NULL
               OR hold_reason IN ('no_wallet', 'operator', 'breaker', 'recipient')),
    CONSTRAINT nft_mint_queue_held_pending_check CHECK (hold_reason IS NULL OR status = 'pending'),
    CONSTRAINT nft_mint_queue_lease_check
        CHECK ((lease_token IS NULL) = (lease_expires_at IS NULL)),
    CONSTRAINT nft_mint_queue_sent_message_check
        CHECK (status <> 'sent' OR chain_message_id IS NOT NULL),
    CONSTRAINT nft_mint_queue_assigned_check
        CHECK (operation <> 'mint' OR status NOT IN ('sent', 'confirmed')
               OR (token_index IS NOT NULL AND recipient IS NOT NULL)),
    CONSTRAINT nft_mint_queue_nft_instance_id_fkey
        FOREIGN KEY (nft_instance_id) REFERENCES nft_instance (id),
    CONSTRAINT nft_mint_queue_chain_collection_id_fkey
        FOREIGN KEY (chain_collection_id) REFERENCES chain_collection (id),
    CONSTRAINT nft_mint_queue_chain_message_id_fkey
        FOREIGN KEY (chain_message_id) REFERENCES chain_message (id)
);
CREATE INDEX nft_mint_queue_chain_message_id_idx ON nft_mint_queue (chain_message_id);
CREATE INDEX nft_mint_queue_due_idx
    ON nft_mint_queue (type_id, operation, priority, run_after)
    WHERE status = 'pending' AND hold_reason IS NULL;
CREATE INDEX nft_mint_queue_failed_burn_idx
    ON nft_mint_queue (nft_instance_id) WHERE status = 'failed' AND operation = 'burn';
CREATE INDEX nft_mint_queue_held_idx
    ON nft_mint_queue (hold_reason, created_at, id) WHERE hold_reason IS NOT NULL;
CREATE INDEX nft_mint_queue_nft_instance_id_idx ON nft_mint_queue (nft_instance_id);
CREATE UNIQUE INDEX nft_mint_queue_one_open_key
    ON nft_mint_queue (nft_instance_id, operation) WHERE status IN ('pending', 'sent');
CREATE UNIQUE INDEX nft_mint_queue_token_index_key
    ON nft_mint_queue (chain_collection_id, token_index)
    WHERE operation = 'mint' AND token_index IS NOT NULL;

-- A task's type is its badge's, whoever writes the task; a badge never changes its type.
-- It remembers the schema: pg_restore writes rows with an empty search_path.
CREATE FUNCTION nft_mint_queue_type() RETURNS trigger LANGUAGE plpgsql
   SET search_path FROM CURRENT AS $$
BEGIN
    NEW.type_id := coalesce((SELECT instance.type_id FROM nft_instance AS instance
                              WHERE instance.id = NEW.nft_instance_id), NEW.type_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER nft_mint_queue_type_of_badge BEFORE INSERT OR UPDATE OF nft_instance_id, type_id
    ON nft_mint_queue FOR EACH ROW EXECUTE FUNCTION nft_mint_queue_type();

CREATE TABLE mint_task_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL,
    event varchar(32) NOT NULL,
    from_status varchar(16),
    to_status varchar(16) NOT NULL,
    details jsonb DEFAULT '{}' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT mint_task_event_event_check
        CHECK (event IN ('signed', 'confirmed', 'failed', 'held', 'parked', 'void', 'index_taken', 'cancelled', 'adopted', 'retried', 'released')),
    CONSTRAINT mint_task_event_from_status_check
        CHECK (from_status IS NULL OR from_status IN ('pending', 'sent', 'confirmed', 'failed')),
    CONSTRAINT mint_task_event_to_status_check
        CHECK (to_status IN ('pending', 'sent', 'confirmed', 'failed')),
    CONSTRAINT mint_task_event_task_id_fkey FOREIGN KEY (task_id) REFERENCES nft_mint_queue (id)
);
CREATE INDEX mint_task_event_task_id_idx ON mint_task_event (task_id);

-- The audit log is append only: a statement that would change it fails, also one that would touch
-- no row, also the owner's, and also under session_replication_role = replica (hence ENABLE
-- ALWAYS).
CREATE FUNCTION nft_audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nft_audit_log is append only: % is refused', TG_OP
          USING ERRCODE = 'restrict_violation', HINT = 'Write a new row that says what changed.';
END
$$;
CREATE TRIGGER nft_audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON nft_audit_log
   FOR EACH STATEMENT EXECUTE FUNCTION nft_audit_log_refuse();
ALTER TABLE nft_audit_log ENABLE ALWAYS TRIGGER nft_audit_log_append_only;

-- Whoever lowered the floor would count again what was forgotten.
INSERT INTO dedupe_floor (floor) VALUES ('0001-01-01');
CREATE FUNCTION dedupe_floor_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.floor >= OLD.floor THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'dedupe_floor only rises: what was forgotten is not known again'
          USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER dedupe_floor_rises BEFORE UPDATE OR DELETE ON dedupe_floor
   FOR EACH ROW EXECUTE FUNCTION dedupe_floor_refuse();
CREATE TRIGGER dedupe_floor_stays BEFORE TRUNCATE ON dedupe_floor
   FOR EACH STATEMENT EXECUTE FUNCTION dedupe_floor_refuse();
ALTER TABLE dedupe_floor ENABLE ALWAYS TRIGGER dedupe_floor_rises;
ALTER TABLE dedupe_floor ENABLE ALWAYS TRIGGER dedupe_floor_stays;
