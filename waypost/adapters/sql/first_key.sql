-- The first operator key, as the role waypost_operator; its digest as waypost_identity.

-- name: has_operator_key
SELECT EXISTS (
  SELECT FROM api_keys
  WHERE role = 'operator' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
);

-- name: keep_operator_key
-- $1 id, $2 workspace, $3 name, $4 role, $5 digest. No row: the id is there, revoked perhaps.
WITH stored AS (
  INSERT INTO api_keys (id, workspace_id, name, role, digest, created_by)
  VALUES ($1, $2, $3, $4, $5, 'system:up')
  ON CONFLICT DO NOTHING
  RETURNING id, workspace_id
), noted AS (
  INSERT INTO audit_log (workspace_id, principal, address, action, object, details, correlation_id)
  SELECT workspace_id, 'system:up', 'local', 'key.create', id, '{"role": "operator"}', '' FROM stored
)
SELECT id FROM stored;

-- name: read_key_digest
-- $1 id.
SELECT digest FROM api_keys WHERE id = $1;
