-- The outbox: what happened, written in the transaction that made it true.

CREATE TABLE outbox (
  id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id        uuid        NOT NULL DEFAULT gen_random_uuid(),
  type            text        NOT NULL CONSTRAINT outbox_type_check CHECK (octet_length(type) BETWEEN 1 AND 64),
  subject         text        NOT NULL CONSTRAINT outbox_subject_check CHECK (octet_length(subject) <= 256),
  version         bigint      NOT NULL,
  workspace_id    uuid        NOT NULL,
  dedupe_key      text        NOT NULL CONSTRAINT outbox_dedupe_key_check CHECK (octet_length(dedupe_key) <= 512),
  correlation_id  text        NOT NULL DEFAULT '',
  traceparent     text        NOT NULL DEFAULT '',
  occurred_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  payload         bytea       NOT NULL,
  claimed_until   timestamptz,
  published_at    timestamptz,
  CONSTRAINT outbox_event_id_key UNIQUE (event_id)
);

CREATE INDEX outbox_pending ON outbox (id) WHERE published_at IS NULL;

COMMENT ON TABLE outbox IS 'Events that wait to be handed on, and those that were.';
COMMENT ON COLUMN outbox.id IS 'Order of writing, not of commit: never use it as a mark of what has been read.';
COMMENT ON COLUMN outbox.event_id IS 'The event''s identity; consumers drop what they have seen.';
COMMENT ON COLUMN outbox.type IS 'link_created, link_updated or link_deleted.';
COMMENT ON COLUMN outbox.subject IS 'What it happened to: the short code of a link.';
COMMENT ON COLUMN outbox.version IS 'The subject''s version after it.';
COMMENT ON COLUMN outbox.workspace_id IS 'Whose it is.';
COMMENT ON COLUMN outbox.dedupe_key IS 'Two events with one key are the same fact.';
COMMENT ON COLUMN outbox.correlation_id IS 'Correlation id of the call that caused it.';
COMMENT ON COLUMN outbox.traceparent IS 'W3C trace context of the call that caused it; may be empty.';
COMMENT ON COLUMN outbox.occurred_at IS 'When, by this server''s clock.';
COMMENT ON COLUMN outbox.payload IS 'The event as a serialised waypost.api.v1.Event.';
COMMENT ON COLUMN outbox.claimed_until IS 'Until when a relay has it in hand; null or past: free.';
COMMENT ON COLUMN outbox.published_at IS 'When it was handed on; null: it waits.';
COMMENT ON INDEX outbox_pending IS 'What waits, oldest first.';

GRANT INSERT ON outbox TO waypost_api, waypost_sweeper;
GRANT SELECT, UPDATE (claimed_until, published_at) ON outbox TO waypost_relay;
