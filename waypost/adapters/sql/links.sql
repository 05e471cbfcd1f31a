-- Links: the API's reads and writes, the redirect's read, the sweep.
--
-- COLLATE "C": letters' case as ASCII has it, as in the index, whatever the database's own language is.

-- name: insert_links
-- One array for each column: $1 workspaces, $2 codes, $3 URLs, $4 flags by comma, $5 redirect statuses, $6 expiries,
-- $7 titles, $8 tags by comma (which no tag has), $9 numbers of clicks (0: any), $10 whether queries are forwarded,
-- $11 terms by comma. No row for a code that is taken, also by one further up.
WITH given AS (
  SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[], $7::text[], $8::text[], $9::integer[],
    $10::boolean[], $11::text[]
  ) WITH ORDINALITY AS given (
    workspace_id, short_code, original_url, flags, redirect_status, expires_at, title, tags, max_clicks, forward_query, terms,
    place
  )
), inserted AS (
  INSERT INTO links (
    workspace_id, short_code, original_url, destination_flags, redirect_status, expires_at, title, tags, max_clicks,
    forward_query, terms, created_at, updated_at
  )
  SELECT workspace_id, short_code, original_url, string_to_array(flags, ','), redirect_status, expires_at, title,
         string_to_array(tags, ','), nullif(max_clicks, 0), forward_query, string_to_array(terms, ','), now.at, now.at
  FROM given, (SELECT clock_timestamp() AS at) AS now
  -- Rivals that take several codes take them in the same order, so none waits for the other in a circle.
  ORDER BY lower(short_code COLLATE "C"), place
  ON CONFLICT DO NOTHING
  RETURNING *
), indexed AS (
  INSERT INTO link_terms (workspace_id, term, created_at, link_id)
  SELECT workspace_id, unnest(terms), created_at, id FROM inserted
)
SELECT workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
       coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
       0 AS clicks_used
FROM inserted;

-- name: get_link
-- $1 code, in its own case, $2 workspace. Not by lower(), which is not known to leak nothing: under row-level security no
-- index would serve.
SELECT workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
       coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
       coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used
FROM links
WHERE workspace_id = $2 AND short_code = $1;

-- name: select_links
-- The columns of a list; its tables and conditions depend on what is asked for.
SELECT links.id, links.workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       links.created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
       coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
       coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used;

-- name: lock_link
-- As get_link; nobody else changes it until the transaction is over.
SELECT workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
       coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
       coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used
FROM links
WHERE workspace_id = $2 AND short_code = $1
FOR NO KEY UPDATE;

-- name: update_link
-- $1 code, $2 URL, $3 flags, $4 redirect status, $5 expiry, $6 title, $7 tags, $8 number of clicks (0: any), $9 whether
-- queries are forwarded, $10 terms, $11 workspace. The terms that go are those that were stored, whatever release made them.
WITH before AS (
  SELECT id, terms FROM links WHERE workspace_id = $11 AND short_code = $1
), changed AS (
  UPDATE links
  SET original_url = $2, destination_flags = $3, redirect_status = $4, expires_at = $5, title = $6, tags = $7,
      max_clicks = nullif($8::integer, 0), forward_query = $9, terms = $10
  FROM before
  WHERE links.id = before.id
  RETURNING links.id, workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
            created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
            coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
            coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used
), gone AS (
  DELETE FROM link_terms USING changed, before, unnest(before.terms) AS old (term)
  WHERE old.term <> ALL ($10::text[])
    AND link_terms.workspace_id = changed.workspace_id AND link_terms.term = old.term
    AND link_terms.created_at = changed.created_at AND link_terms.link_id = changed.id
), come AS (
  INSERT INTO link_terms (workspace_id, term, created_at, link_id)
  SELECT changed.workspace_id, terms.term, changed.created_at, changed.id
  FROM changed, unnest($10::text[]) AS terms (term)
  ON CONFLICT DO NOTHING
)
SELECT * FROM changed;

-- name: set_link_deleted
-- $1 code, $2 whether it is deleted, $3 workspace.
UPDATE links SET deleted_at = CASE WHEN $2::boolean THEN clock_timestamp() END
WHERE workspace_id = $3 AND short_code = $1
RETURNING workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
          created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
          coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
          coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used;

-- name: read_redirect
-- $1 code. Only columns that the redirect role may see.
SELECT short_code, original_url, redirect_status, version, blocked_at IS NOT NULL AS blocked,
       deleted_at IS NOT NULL AS deleted, expires_at, created_at, warned_at IS NOT NULL AS warned,
       max_clicks IS NOT NULL AS limited, forward_query,
       coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id) >= max_clicks, false) AS exhausted
FROM links
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1;

-- name: use_click
-- $1 code. One statement takes the click and says where it leads; rivals wait for the row and look at it again. No row:
-- there is no click to take.
UPDATE click_budgets SET clicks_used = clicks_used + 1
FROM links
WHERE lower(links.short_code) = lower($1 COLLATE "C") AND links.short_code = $1 AND click_budgets.link_id = links.id
  AND click_budgets.clicks_used < links.max_clicks
  AND links.deleted_at IS NULL AND links.blocked_at IS NULL AND links.warned_at IS NULL
  AND (links.expires_at IS NULL OR links.expires_at > clock_timestamp())
RETURNING short_code, original_url, redirect_status, version, false AS blocked, false AS deleted, expires_at, created_at,
          false AS warned, true AS limited, forward_query, false AS exhausted;

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
          created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
          coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
          coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used;
