-- Overrides of rate limits, as the role waypost_limiter. One that has expired is not there.

-- name: lock_overrides
-- Nobody else changes overrides until the transaction is over.
SELECT number FROM limit_override_changes FOR UPDATE;

-- name: forget_expired_overrides
-- $1 how many at most.
DELETE FROM limit_overrides
WHERE id IN (SELECT id FROM limit_overrides WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT $1);

-- name: count_overrides
SELECT count(*) FROM limit_overrides WHERE expires_at IS NULL OR expires_at > clock_timestamp();

-- name: find_override
-- $1 digest.
SELECT id, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_at, created_by
FROM limit_overrides
WHERE digest = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: set_override
-- $1 id of a new one, $2 digest, $3 domain, $4 entries as JSON, $5 requests per unit and $6 unit (null: unlimited), $7 burst
-- (null: the limit), $8 reason, $9 end (null: never), $10 by whom.
INSERT INTO limit_overrides (id, digest, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (digest) DO UPDATE SET
  requests_per_unit = EXCLUDED.requests_per_unit,
  unit = EXCLUDED.unit,
  burst = EXCLUDED.burst,
  reason = EXCLUDED.reason,
  expires_at = EXCLUDED.expires_at,
  created_at = clock_timestamp(),
  created_by = EXCLUDED.created_by
RETURNING id, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_at, created_by;

-- name: delete_override
-- $1 id.
DELETE FROM limit_overrides
WHERE id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())
RETURNING id, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_at, created_by;

-- name: list_overrides
-- $1 domain (empty: all), $2 time and $3 id behind which the page begins (null: the latest), $4 how many.
SELECT id, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_at, created_by
FROM limit_overrides
WHERE ($1::text = '' OR domain = $1)
  AND (expires_at IS NULL OR expires_at > clock_timestamp())
  AND (created_at, id)
    < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
ORDER BY created_at DESC, id DESC
LIMIT $4;

-- name: heartbeat_of_overrides
SELECT clock_timestamp() AS now, number FROM limit_override_changes;

-- name: read_live_overrides
-- $1 digest behind which the part begins, $2 how many.
SELECT digest, domain, requests_per_unit, unit, burst, expires_at
FROM limit_overrides
WHERE digest > $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY digest
LIMIT $2;
