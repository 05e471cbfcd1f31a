-- The audit log.

-- name: insert_audit
-- One array for each column: $1 workspaces, $2 principals, $3 addresses, $4 actions, $5 objects, $6 details as JSON,
-- $7 correlation ids.
INSERT INTO audit_log (workspace_id, principal, address, action, object, details, correlation_id)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[]);

-- name: read_audit
-- $1 workspace, $2 from and $3 until (null: no bound), $4 time and $5 id of the event behind which the page begins (null: the
-- latest), $6 how many rows to look at at most, $7 principal, $8 action and $9 what is greater than all actions of a kind
-- (empty: any), $10 how many rows at most. Rows that meet the conditions, and the last one looked at if there may be more.
SELECT * FROM (
  SELECT looked.*,
         ($7::text = '' OR principal = $7)
         AND ($8::text = '' OR action = $8 OR ($9::text > '' AND action > $8 AND action < $9)) AS meets
  FROM (
    SELECT id, workspace_id, occurred_at, principal, address, action, object, details, correlation_id,
           row_number() OVER (ORDER BY occurred_at DESC, id DESC) AS place
    FROM audit_log
    WHERE workspace_id = $1
      AND occurred_at >= coalesce($2::timestamptz, '-infinity') AND occurred_at < coalesce($3::timestamptz, 'infinity')
      AND (occurred_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0))
    ORDER BY occurred_at DESC, id DESC
    LIMIT $6
  ) AS looked
) AS judged
WHERE meets OR place = $6
ORDER BY occurred_at DESC, id DESC
LIMIT $10;

-- name: read_audit_of_object
-- As read_audit; $11 the object.
SELECT * FROM (
  SELECT looked.*,
         ($7::text = '' OR principal = $7)
         AND ($8::text = '' OR action = $8 OR ($9::text > '' AND action > $8 AND action < $9)) AS meets
  FROM (
    SELECT id, workspace_id, occurred_at, principal, address, action, object, details, correlation_id,
           row_number() OVER (ORDER BY occurred_at DESC, id DESC) AS place
    FROM audit_log
    WHERE workspace_id = $1 AND object = $11
      AND occurred_at >= coalesce($2::timestamptz, '-infinity') AND occurred_at < coalesce($3::timestamptz, 'infinity')
      AND (occurred_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0))
    ORDER BY occurred_at DESC, id DESC
    LIMIT $6
  ) AS looked
) AS judged
WHERE meets OR place = $6
ORDER BY occurred_at DESC, id DESC
LIMIT $10;

-- name: read_whole_audit
-- As read_audit, of all workspaces, for operators; $1 the object (empty: any).
SELECT * FROM (
  SELECT looked.*,
         ($1::text = '' OR object = $1)
         AND ($7::text = '' OR principal = $7)
         AND ($8::text = '' OR action = $8 OR ($9::text > '' AND action > $8 AND action < $9)) AS meets
  FROM (
    SELECT id, workspace_id, occurred_at, principal, address, action, object, details, correlation_id,
           row_number() OVER (ORDER BY occurred_at DESC, id DESC) AS place
    FROM audit_log
    WHERE occurred_at >= coalesce($2::timestamptz, '-infinity') AND occurred_at < coalesce($3::timestamptz, 'infinity')
      AND (occurred_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0))
    ORDER BY occurred_at DESC, id DESC
    LIMIT $6
  ) AS looked
) AS judged
WHERE meets OR place = $6
ORDER BY occurred_at DESC, id DESC
LIMIT $10;
