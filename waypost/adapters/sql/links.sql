-- Links: the API's reads and writes, the redirect's read, the sweep.
--
-- COLLATE "C": letters' case as ASCII has it, as in the index, whatever the database's own language is.

-- name: insert_link
-- $1 workspace, $2 code, $3 URL, $4 flags, $5 redirect status, $6 expiry. No row: the code is taken.
INSERT INTO links (workspace_id, short_code, original_url, destination_flags, redirect_status, expires_at, created_at, updated_at)
SELECT $1, $2, $3, $4, $5, $6, now.at, now.at
FROM (SELECT clock_timestamp() AS at) AS now
ON CONFLICT DO NOTHING
RETURNING workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
          created_at, updated_at, deleted_at, expires_at, redirect_status;

-- name: get_link
-- $1 code, in its own case.
SELECT workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       created_at, updated_at, deleted_at, expires_at, redirect_status
FROM links
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1;

-- name: delete_link
-- $1 code. No row: there is no such link, or it is deleted already.
UPDATE links SET deleted_at = clock_timestamp()
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1 AND deleted_at IS NULL
RETURNING workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
          created_at, updated_at, deleted_at, expires_at, redirect_status;

-- name: read_redirect
-- $1 code. Only columns that the redirect role may see.
SELECT short_code, original_url, redirect_status, version, blocked_at IS NOT NULL AS blocked,
       deleted_at IS NOT NULL AS deleted, expires_at
FROM links
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1;

-- name: expire_links
-- $1 how many at most. Rivals skip each other's rows; materialized, so that the limit is applied once.
WITH due AS MATERIALIZED (
  SELECT id FROM links
  WHERE expires_at <= clock_timestamp() AND expires_at IS NOT NULL AND expired_at IS NULL AND deleted_at IS NULL
  ORDER BY expires_at
  LIMIT $1
  FOR UPDATE SKIP LOCKED
)
UPDATE links SET expired_at = clock_timestamp()
FROM due
WHERE links.id = due.id
RETURNING workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
          created_at, updated_at, deleted_at, expires_at, redirect_status;
