-- The outbox: events join the transaction that makes them true.

-- name: insert_events
-- One array for each column: $1 ids, $2 types, $3 subjects, $4 versions, $5 workspaces, $6 dedupe keys,
-- $7 correlation ids, $8 trace contexts, $9 times, $10 serialised events.
INSERT INTO outbox (event_id, type, subject, version, workspace_id, dedupe_key, correlation_id, traceparent, occurred_at, payload)
SELECT * FROM unnest(
  $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::bytea[]
);
