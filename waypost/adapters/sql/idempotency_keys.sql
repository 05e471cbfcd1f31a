-- Idempotency keys: what a request was answered, for 24 hours.

-- name: claim_key
-- $1 workspace, $2 principal, $3 method, $4 key, $5 fingerprint. Waits for a rival that is not done yet. No row: somebody
-- has the key, and what they were answered can be read.
INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (workspace_id, principal, method, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, answer = NULL, created_at = excluded.created_at
  WHERE idempotency_keys.created_at <= clock_timestamp() - interval '24 hours'
RETURNING true AS claimed;

-- name: read_answer
-- $1 workspace, $2 principal, $3 method, $4 key.
SELECT fingerprint, answer FROM idempotency_keys
WHERE workspace_id = $1 AND principal = $2 AND method = $3 AND key = $4
  AND created_at > clock_timestamp() - interval '24 hours';

-- name: keep_answer
-- $1 workspace, $2 principal, $3 method, $4 key, $5 answer.
UPDATE idempotency_keys SET answer = $5
WHERE workspace_id = $1 AND principal = $2 AND method = $3 AND key = $4;

-- name: forget_answers
-- $1 how many at most. No rivals: only one worker has a tick of the job.
WITH old AS MATERIALIZED (
  SELECT workspace_id, principal, method, key FROM idempotency_keys
  WHERE created_at <= clock_timestamp() - interval '24 hours'
  ORDER BY created_at
  LIMIT $1
)
DELETE FROM idempotency_keys USING old
WHERE (idempotency_keys.workspace_id, idempotency_keys.principal, idempotency_keys.method, idempotency_keys.key)
    = (old.workspace_id, old.principal, old.method, old.key)
  AND idempotency_keys.created_at <= clock_timestamp() - interval '24 hours';
