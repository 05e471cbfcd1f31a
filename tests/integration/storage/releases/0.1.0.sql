-- migrations: 4
-- Rows as release 0.1.0 leaves them.
INSERT INTO links (workspace_id, short_code, original_url, destination_flags, redirect_status, expires_at)
VALUES
  ('00000000-0000-0000-0000-000000000001', 'plain12', 'https://example.org/a', '{}', 302, NULL),
  ('00000000-0000-0000-0000-000000000001', 'Flagged', 'https://xn--mnchen-3ya.example/', '{international_host}', 301, '2098-01-01'),
  ('00000000-0000-0000-0000-000000000001', 'expired', 'https://example.org/b', '{}', 307, '2020-01-01'),
  ('00000000-0000-0000-0000-000000000001', 'deleted', 'https://example.org/c', '{}', 308, NULL),
  ('00000000-0000-0000-0000-000000000001', 'blocked', 'https://example.org/d', '{}', 302, NULL);
UPDATE links SET expired_at = now() WHERE short_code = 'expired';
UPDATE links SET deleted_at = now() WHERE short_code = 'deleted';
UPDATE links SET blocked_at = now() WHERE short_code = 'blocked';
INSERT INTO outbox (type, subject, version, workspace_id, dedupe_key, payload, claimed_until, published_at)
VALUES
  ('link_created', 'plain12', 1, '00000000-0000-0000-0000-000000000001', 'link/plain12/1', '\x00', NULL, NULL),
  ('link_created', 'deleted', 1, '00000000-0000-0000-0000-000000000001', 'link/deleted/1', '\x00', now(), now());
INSERT INTO job_runs (job, tick, finished_at, affected) VALUES ('expire_links', '2026-01-01', now(), 1);
