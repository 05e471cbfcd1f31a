-- Overrides of rate limits, set by operators and followed by every rate limiter.

-- One more login role. As in the first step: roles belong to the whole cluster and may be there already.
DO $$
DECLARE
  setting record;
BEGIN
  BEGIN
    CREATE ROLE waypost_limiter LOGIN NOINHERIT;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
  END;
  BEGIN
    GRANT waypost_limiter TO CURRENT_USER;
  EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
    RAISE NOTICE 'cannot become waypost_limiter: grant it to % to use one URL for all jobs', current_user;
  END;
  -- As in the step before: to become the role is one thing, to have its rights without becoming it another.
  IF current_setting('server_version_num')::integer >= 160000 THEN
    BEGIN
      EXECUTE 'GRANT waypost_limiter TO CURRENT_USER WITH INHERIT FALSE, SET TRUE';
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
      RAISE NOTICE 'cannot keep % from inheriting what waypost_limiter may do', current_user;
    END;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO waypost_limiter', current_database());
  GRANT USAGE ON SCHEMA public TO waypost_limiter;
  FOR setting IN
    SELECT * FROM (VALUES
      ('statement_timeout', '5s'),
      ('lock_timeout', '2s'),
      ('idle_in_transaction_session_timeout', '10s')
    ) AS settings (name, value)
  LOOP
    BEGIN
      EXECUTE format('ALTER ROLE waypost_limiter SET %s = %L', setting.name, setting.value);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE NOTICE 'cannot set % of waypost_limiter', setting.name;
    END;
  END LOOP;
  BEGIN
    COMMENT ON ROLE waypost_limiter IS 'Waypost: the rate limiter; keeps and follows overrides.';
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;
  END;
END
$$;

CREATE TABLE limit_overrides (
  id                 uuid         PRIMARY KEY,
  digest             bytea        NOT NULL CONSTRAINT limit_overrides_digest_key UNIQUE
                                  CONSTRAINT limit_overrides_digest_check CHECK (octet_length(digest) = 32),
  domain             text         COLLATE "C" NOT NULL
                                  CONSTRAINT limit_overrides_domain_check CHECK (octet_length(domain) BETWEEN 1 AND 255),
  entries            jsonb        NOT NULL
                                  CONSTRAINT limit_overrides_entries_check
                                  CHECK (jsonb_typeof(entries) = 'array' AND jsonb_array_length(entries) BETWEEN 1 AND 32),
  requests_per_unit  bigint       CONSTRAINT limit_overrides_requests_per_unit_check
                                  CHECK (requests_per_unit BETWEEN 0 AND 4294967295),
  unit               text         CONSTRAINT limit_overrides_unit_check
                                  CHECK (unit IN ('second', 'minute', 'hour', 'day', 'week', 'month', 'year')),
  burst              bigint       CONSTRAINT limit_overrides_burst_check CHECK (burst BETWEEN 1 AND 4294967295),
  reason             text         NOT NULL DEFAULT ''
                                  CONSTRAINT limit_overrides_reason_check CHECK (char_length(reason) <= 500),
  expires_at         timestamptz,
  created_at         timestamptz  NOT NULL DEFAULT clock_timestamp(),
  created_by         text         NOT NULL
                                  CONSTRAINT limit_overrides_created_by_check CHECK (char_length(created_by) <= 300),
  CONSTRAINT limit_overrides_numbers_check
    CHECK (num_nonnulls(requests_per_unit, unit) <> 1 AND (burst IS NULL OR unit IS NOT NULL))
);

CREATE INDEX limit_overrides_by_time ON limit_overrides (created_at, id);
CREATE INDEX limit_overrides_by_expiry ON limit_overrides (expires_at) WHERE expires_at IS NOT NULL;

COMMENT ON TABLE limit_overrides IS 'Other numbers for single descriptors than the rules give; of no workspace.';
COMMENT ON COLUMN limit_overrides.id IS 'Identity; stays when the override is replaced.';
COMMENT ON COLUMN limit_overrides.digest IS 'BLAKE2b of domain and entries: one descriptor has one override.';
COMMENT ON COLUMN limit_overrides.domain IS 'The rule file''s domain.';
COMMENT ON COLUMN limit_overrides.entries IS 'The descriptor, from the outermost entry inwards: [{"key": …, "value": …}].';
COMMENT ON COLUMN limit_overrides.requests_per_unit IS 'The limit; null: unlimited.';
COMMENT ON COLUMN limit_overrides.unit IS 'In which span; null: unlimited.';
COMMENT ON COLUMN limit_overrides.burst IS 'How many hits a full token bucket holds; null: the limit.';
COMMENT ON COLUMN limit_overrides.reason IS 'Why, for people.';
COMMENT ON COLUMN limit_overrides.expires_at IS 'First instant at which it counts for nothing; null: never.';
COMMENT ON COLUMN limit_overrides.created_at IS 'When it was set, or replaced last.';
COMMENT ON COLUMN limit_overrides.created_by IS 'By whom.';
COMMENT ON INDEX limit_overrides_by_time IS 'Lists, the latest first.';
COMMENT ON INDEX limit_overrides_by_expiry IS 'What has expired and is to go.';

CREATE TABLE limit_override_changes (
  only_row  boolean  PRIMARY KEY DEFAULT true CONSTRAINT limit_override_changes_only_row_check CHECK (only_row),
  number    bigint   NOT NULL DEFAULT 0
);
INSERT INTO limit_override_changes DEFAULT VALUES;

COMMENT ON TABLE limit_override_changes IS 'How often overrides were changed. Whoever changes them locks its one row, so they do it one after the other.';
COMMENT ON COLUMN limit_override_changes.only_row IS 'Keeps it at one row.';
COMMENT ON COLUMN limit_override_changes.number IS 'Rises with each change: who has read the overrides since it rose last has missed none.';

CREATE FUNCTION limit_overrides_notify() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  UPDATE public.limit_override_changes SET number = number + 1;
  PERFORM pg_notify('waypost_limit_overrides', '');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION limit_overrides_notify() IS 'Counts a change, and tells followers of the channel waypost_limit_overrides that there was one.';
REVOKE ALL ON FUNCTION limit_overrides_notify() FROM PUBLIC;
CREATE TRIGGER limit_overrides_notify AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON limit_overrides
  FOR EACH STATEMENT EXECUTE FUNCTION limit_overrides_notify();

GRANT
  SELECT,
  INSERT (id, digest, domain, entries, requests_per_unit, unit, burst, reason, expires_at, created_by),
  UPDATE (requests_per_unit, unit, burst, reason, expires_at, created_at, created_by),
  DELETE
  ON limit_overrides TO waypost_limiter;
GRANT SELECT, UPDATE (number) ON limit_override_changes TO waypost_limiter;
GRANT INSERT (workspace_id, principal, address, action, object, details, correlation_id) ON audit_log TO waypost_limiter;

-- It writes of overrides alone, and reads nothing.
CREATE POLICY overrides ON audit_log FOR INSERT TO waypost_limiter WITH CHECK (action LIKE 'override.%');
