-- Workspaces, members and keys. Every statement names its workspace, beside row-level security.

-- name: lock_members
-- $1 workspace. Who counts its members, or changes one, goes one after the other. Not the rows themselves: one who is not
-- there yet cannot be locked.
SELECT pg_advisory_xact_lock(hashtextextended('waypost members ' || $1::uuid, 0));

-- name: insert_member
-- $1 workspace, $2 subject, $3 role, $4 name. No row: the subject is a member.
INSERT INTO members (workspace_id, subject, role, name)
VALUES ($1, $2, $3, $4)
ON CONFLICT (workspace_id, subject) DO NOTHING
RETURNING true AS added;

-- name: get_member
-- $1 workspace, $2 subject.
SELECT subject, role, name, created_at FROM members WHERE workspace_id = $1 AND subject = $2;

-- name: update_member
-- $1 workspace, $2 subject, $3 role, $4 name.
UPDATE members SET role = $3, name = $4
WHERE workspace_id = $1 AND subject = $2
RETURNING subject, role, name, created_at;

-- name: delete_member
-- $1 workspace, $2 subject.
DELETE FROM members WHERE workspace_id = $1 AND subject = $2;

-- name: count_members
-- $1 workspace, $2 whether owners only.
SELECT count(*) FROM members WHERE workspace_id = $1 AND (role = 'owner' OR NOT $2::boolean);

-- name: list_members
-- $1 workspace, $2 subject behind which the page begins, empty for the first, $3 how many at most.
SELECT subject, role, name, created_at FROM members
WHERE workspace_id = $1 AND subject > $2
ORDER BY subject
LIMIT $3;

-- name: lock_keys
-- $1 workspace. Who counts its keys does so one after the other.
SELECT pg_advisory_xact_lock(hashtextextended('waypost keys ' || $1::uuid, 0));

-- name: insert_key
-- $1 id, $2 workspace, $3 name, $4 role, $5 scopes (empty: all of the role's), $6 digest, $7 who makes it, $8 expiry.
INSERT INTO api_keys (id, workspace_id, name, role, scopes, digest, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5::text[], $6, $7, $8)
RETURNING id, name, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at;

-- name: revoke_key
-- $1 workspace, $2 id. No row: there is none, or it is revoked, perhaps by a rival whose end this has waited for.
UPDATE api_keys SET revoked_at = clock_timestamp()
WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL
RETURNING id, name, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at;

-- name: count_live_keys
-- $1 workspace.
SELECT count(*) FROM api_keys
WHERE workspace_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: get_key
-- $1 workspace, $2 id.
SELECT id, name, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at
FROM api_keys
WHERE workspace_id = $1 AND id = $2;

-- name: list_keys
-- $1 workspace, $2 time and $3 id of the key behind which the page begins, null for the first page, $4 how many at most.
SELECT id, name, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at
FROM api_keys
WHERE workspace_id = $1
  AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::text, '') COLLATE "C")
ORDER BY created_at DESC, id DESC
LIMIT $4;

-- name: get_workspace
-- $1 workspace.
SELECT id, name, created_at FROM workspaces WHERE id = $1;

-- name: lock_workspace
-- $1 workspace. Nobody else renames it until the transaction is over.
SELECT id, name, created_at FROM workspaces WHERE id = $1 FOR NO KEY UPDATE;

-- name: rename_workspace
-- $1 workspace, $2 name.
UPDATE workspaces SET name = $2 WHERE id = $1 RETURNING id, name, created_at;

-- name: list_workspaces
-- $1 id behind which the page begins, null for the first, $2 how many at most. For operators.
SELECT id, name, created_at FROM workspaces
WHERE id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY id
LIMIT $2;

-- name: list_workspaces_of
-- $1 ids, $2 id behind which the page begins, null for the first, $3 how many at most.
SELECT id, name, created_at FROM workspaces
WHERE id = ANY($1::uuid[]) AND id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY id
LIMIT $3;

-- name: insert_workspace
-- $1 id, $2 name.
INSERT INTO workspaces (id, name) VALUES ($1, $2) RETURNING id, name, created_at;

-- name: insert_owner
-- $1 workspace, $2 subject. Of a workspace that the transaction makes, so there is nobody yet.
INSERT INTO members (workspace_id, subject, role) VALUES ($1, $2, 'owner');
