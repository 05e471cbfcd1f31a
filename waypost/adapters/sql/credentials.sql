-- What authentication asks, across workspaces, as the role waypost_identity.

-- name: read_key
-- $1 id.
SELECT id, workspace_id, role, scopes, digest, expires_at, revoked_at FROM api_keys WHERE id = $1;

-- name: read_memberships
-- $1 subject.
SELECT workspace_id, role FROM members WHERE subject = $1 ORDER BY workspace_id LIMIT 1000;

-- name: workspace_exists
-- $1 id.
SELECT EXISTS (SELECT FROM workspaces WHERE id = $1);

-- name: note_key_use
-- $1 ids. Skips rows that somebody is changing: it is noted the next time.
UPDATE api_keys SET last_used_at = clock_timestamp()
FROM (SELECT id FROM api_keys WHERE id = ANY ($1::text[]) FOR NO KEY UPDATE SKIP LOCKED) AS used
WHERE api_keys.id = used.id;
