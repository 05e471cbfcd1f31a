-- Reports of harmful links, and blocked links. Reports are taken in by the role of redirects, all else is the operators'.

-- name: find_reported_link
-- $1 code, of whatever workspace.
SELECT id FROM links WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1;

-- name: lock_reports_of_link
-- $1 link. Reports of one link are stored one after the other, or rivals would not count each other.
SELECT pg_advisory_xact_lock(hashtextextended('waypost reports ' || $1::bigint, 0));

-- name: insert_report
-- $1 id, $2 link, $3 category, $4 comment, $5 contact, $6 address, $7 most open reports of the link by the address within a
-- day, $8 most open reports of the link. Nothing is stored beyond those.
INSERT INTO reports (id, link_id, category, comment, contact, address)
SELECT $1::uuid, $2::bigint, $3::text, $4::text, $5::text, $6::text
WHERE $7::bigint > (
  SELECT count(*) FROM reports
  WHERE link_id = $2 AND address = $6 AND closed_at IS NULL AND created_at > clock_timestamp() - INTERVAL '1 day'
) AND $8::bigint > (SELECT count(*) FROM reports WHERE link_id = $2 AND closed_at IS NULL);

-- name: list_open_reports
-- $1 time and $2 id behind which the page begins (null: the oldest), $3 how many.
SELECT reports.id, links.short_code, reports.category, reports.comment, reports.contact, reports.created_at,
       reports.closed_at, links.original_url, links.blocked_at IS NOT NULL AS blocked, links.workspace_id
FROM reports JOIN links ON links.id = reports.link_id
WHERE reports.closed_at IS NULL
  AND (reports.created_at, reports.id)
    > (coalesce($1::timestamptz, '-infinity'), coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'))
ORDER BY reports.created_at, reports.id
LIMIT $3;

-- name: list_closed_reports
-- As list_open_reports.
SELECT reports.id, links.short_code, reports.category, reports.comment, reports.contact, reports.created_at,
       reports.closed_at, links.original_url, links.blocked_at IS NOT NULL AS blocked, links.workspace_id
FROM reports JOIN links ON links.id = reports.link_id
WHERE reports.closed_at IS NOT NULL
  AND (reports.created_at, reports.id)
    > (coalesce($1::timestamptz, '-infinity'), coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'))
ORDER BY reports.created_at, reports.id
LIMIT $3;

-- name: list_reports_of_link
-- As list_open_reports; $4 whether closed ones instead, $5 the link's code.
SELECT reports.id, links.short_code, reports.category, reports.comment, reports.contact, reports.created_at,
       reports.closed_at, links.original_url, links.blocked_at IS NOT NULL AS blocked, links.workspace_id
FROM links JOIN reports ON reports.link_id = links.id
WHERE lower(links.short_code) = lower($5 COLLATE "C") AND links.short_code = $5
  AND (reports.closed_at IS NOT NULL) = $4::boolean
  AND (reports.created_at, reports.id)
    > (coalesce($1::timestamptz, '-infinity'), coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'))
ORDER BY reports.created_at, reports.id
LIMIT $3;

-- name: get_report
-- $1 id.
SELECT reports.id, links.short_code, reports.category, reports.comment, reports.contact, reports.created_at,
       reports.closed_at, links.original_url, links.blocked_at IS NOT NULL AS blocked, links.workspace_id
FROM reports JOIN links ON links.id = reports.link_id
WHERE reports.id = $1;

-- name: close_report
-- $1 id. A row if it was open.
UPDATE reports SET closed_at = clock_timestamp() WHERE id = $1 AND closed_at IS NULL RETURNING id;

-- name: close_reports_of_link
-- $1 the link's code.
UPDATE reports SET closed_at = clock_timestamp()
FROM links
WHERE lower(links.short_code) = lower($1 COLLATE "C") AND links.short_code = $1
  AND reports.link_id = links.id AND reports.closed_at IS NULL;

-- name: lock_any_link
-- $1 code, of whatever workspace; nobody else changes it until the transaction is over.
SELECT workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
       created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
       coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
       coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used,
       blocked_at, blocked_reason
FROM links
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1
FOR NO KEY UPDATE;

-- name: set_link_blocked
-- $1 code, $2 whether it is blocked, $3 reason. Since when it is blocked stays.
UPDATE links SET blocked_at = CASE WHEN $2::boolean THEN coalesce(blocked_at, clock_timestamp()) END, blocked_reason = $3
WHERE lower(short_code) = lower($1 COLLATE "C") AND short_code = $1
RETURNING workspace_id, short_code, original_url, destination_flags, blocked_at IS NOT NULL AS blocked, version,
          created_at, updated_at, deleted_at, expires_at, redirect_status, title, tags,
          coalesce(max_clicks, 0) AS max_clicks, forward_query, warned_at IS NOT NULL AS warned,
          coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id), 0) AS clicks_used,
          blocked_at, blocked_reason;

-- name: list_blocked_links
-- $1 time and $2 id behind which the page begins (null: the latest), $3 how many.
SELECT id, short_code, original_url, workspace_id, blocked_at, blocked_reason
FROM links
WHERE blocked_at IS NOT NULL
  AND (blocked_at, id) < (coalesce($1::timestamptz, 'infinity'), coalesce($2::bigint, 9223372036854775807))
ORDER BY blocked_at DESC, id DESC
LIMIT $3;
