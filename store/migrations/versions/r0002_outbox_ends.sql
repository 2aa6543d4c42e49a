CREATE INDEX outbox_message_published_at_occurred_at_idx
    ON outbox_message (published_at, occurred_at);
