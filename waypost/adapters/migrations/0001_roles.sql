-- The login roles, one for each job, and what holds for all of them.
--
-- Roles belong to the whole cluster, so they may be there already. None owns anything, none is a superuser, none bypasses
-- row security; each later migration grants a role exactly the columns and verbs that its job needs.

REVOKE ALL ON SCHEMA public FROM PUBLIC;

DO $$
DECLARE
  job record;
  setting record;
BEGIN
  FOR job IN
    SELECT * FROM (VALUES
      ('waypost_api',      '5s',  '2s', 'Waypost: the API; makes, reads and changes links.'),
      ('waypost_redirect', '2s',  '1s', 'Waypost: redirects; reads the few columns of links that a redirect needs.'),
      ('waypost_relay',    '15s', '2s', 'Waypost: hands the outbox on.'),
      ('waypost_rollup',   '60s', '2s', 'Waypost: adds clicks up.'),
      ('waypost_sweeper',  '30s', '2s', 'Waypost: scheduled jobs; marks links whose time is over.')
    ) AS jobs (name, statement_timeout, lock_timeout, comment)
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT', job.name);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;

    -- A single URL serves all jobs when its user may become each role (SET ROLE).
    BEGIN
      EXECUTE format('GRANT %I TO CURRENT_USER', job.name);
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
      RAISE NOTICE 'cannot become %: grant it to % to use one URL for all jobs', job.name, current_user;
    END;

    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), job.name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', job.name);

    -- A net under the limits that each connection sets for itself. Managed servers may refuse it.
    FOR setting IN
      SELECT * FROM (VALUES
        ('statement_timeout', job.statement_timeout),
        ('lock_timeout', job.lock_timeout),
        ('idle_in_transaction_session_timeout', '10s')
      ) AS settings (name, value)
    LOOP
      BEGIN
        EXECUTE format('ALTER ROLE %I SET %s = %L', job.name, setting.name, setting.value);
      EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'cannot set % of %', setting.name, job.name;
      END;
    END LOOP;
    BEGIN
      EXECUTE format('COMMENT ON ROLE %I IS %L', job.name, job.comment);
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
  END LOOP;
END
$$;

COMMENT ON TABLE schema_migrations IS 'The migrations that have been applied, in their order.';
COMMENT ON COLUMN schema_migrations.version IS 'The number that the file''s name begins with.';
COMMENT ON COLUMN schema_migrations.name IS 'The rest of the file''s name.';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file: an applied file must never change.';
COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was applied.';
