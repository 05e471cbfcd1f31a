-- The audit log.

-- name: insert_audit
-- One array for each column: $1 workspaces, $2 principals, $3 addresses, $4 actions, $5 objects, $6 details as JSON,
-- $7 correlation ids.
INSERT INTO audit_log (workspace_id, principal, address, action, object, details, correlation_id)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[]);
