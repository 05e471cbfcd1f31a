-- Who may do what: members, keys, the audit log, reports; and row-level security, which holds each workspace's calls to its
-- own rows.

-- Two more login roles. As in the first step: roles belong to the whole cluster and may be there already.
DO $$
DECLARE
  job record;
  setting record;
BEGIN
  FOR job IN
    SELECT * FROM (VALUES
      ('waypost_identity', '2s', '1s', 'Waypost: authentication; looks up keys and members of all workspaces.'),
      ('waypost_operator', '5s', '2s', 'Waypost: operators; blocks links, reads reports and the audit log of all workspaces.')
    ) AS jobs (name, statement_timeout, lock_timeout, comment)
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT', job.name);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
    BEGIN
      EXECUTE format('GRANT %I TO CURRENT_USER', job.name);
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
      RAISE NOTICE 'cannot become %: grant it to % to use one URL for all jobs', job.name, current_user;
    END;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), job.name);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', job.name);
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

ALTER TABLE workspaces
  DROP CONSTRAINT workspaces_name_check,
  ADD CONSTRAINT workspaces_name_check CHECK (char_length(name) BETWEEN 1 AND 128);

-- To become a role is one thing, to have its rights without becoming it another: an owner who had an operator's would see
-- all workspaces. PostgreSQL 15 cannot tell the two apart.
DO $$
DECLARE
  name text;
BEGIN
  IF current_setting('server_version_num')::integer < 160000 THEN
    RETURN;
  END IF;
  FOREACH name IN ARRAY ARRAY[
    'waypost_api', 'waypost_redirect', 'waypost_relay', 'waypost_rollup', 'waypost_sweeper', 'waypost_identity',
    'waypost_operator'
  ] LOOP
    BEGIN
      EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT FALSE, SET TRUE', name);
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
      RAISE NOTICE 'cannot keep % from inheriting what % may do', current_user, name;
    END;
  END LOOP;
END
$$;

-- A temporary table would stand before the real one for whoever gets the connection next.
DO $$
BEGIN
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

CREATE TABLE members (
  workspace_id  uuid         NOT NULL REFERENCES workspaces (id),
  subject       text         COLLATE "C" NOT NULL
                             CONSTRAINT members_subject_check CHECK (octet_length(subject) BETWEEN 1 AND 255),
  role          text         NOT NULL CONSTRAINT members_role_check CHECK (role IN ('viewer', 'editor', 'owner')),
  name          text         NOT NULL DEFAULT '' CONSTRAINT members_name_check CHECK (char_length(name) <= 128),
  created_at    timestamptz  NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (workspace_id, subject)
);

CREATE INDEX members_subject ON members (subject, workspace_id);

COMMENT ON TABLE members IS 'People in workspaces.';
COMMENT ON COLUMN members.workspace_id IS 'In which workspace.';
COMMENT ON COLUMN members.subject IS 'Who, by the subject of their tokens.';
COMMENT ON COLUMN members.role IS 'What they may do.';
COMMENT ON COLUMN members.name IS 'For people.';
COMMENT ON COLUMN members.created_at IS 'When they were added.';
COMMENT ON INDEX members_subject IS 'Of which workspaces somebody is a member.';

CREATE TABLE api_keys (
  id            text         COLLATE "C" PRIMARY KEY CONSTRAINT api_keys_id_check CHECK (id ~ '^[A-Za-z0-9]{16}$'),
  workspace_id  uuid         NOT NULL REFERENCES workspaces (id),
  name          text         NOT NULL CONSTRAINT api_keys_name_check CHECK (char_length(name) BETWEEN 1 AND 128),
  role          text         NOT NULL
                             CONSTRAINT api_keys_role_check CHECK (role IN ('viewer', 'editor', 'owner', 'operator')),
  scopes        text[]       NOT NULL DEFAULT '{}' CONSTRAINT api_keys_scopes_check CHECK (cardinality(scopes) <= 32),
  digest        bytea        NOT NULL CONSTRAINT api_keys_digest_check CHECK (octet_length(digest) = 32),
  created_by    text         NOT NULL CONSTRAINT api_keys_created_by_check CHECK (char_length(created_by) <= 300),
  created_at    timestamptz  NOT NULL DEFAULT clock_timestamp(),
  expires_at    timestamptz,
  last_used_at  timestamptz,
  revoked_at    timestamptz
);

CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_at, id);
CREATE INDEX api_keys_live ON api_keys (workspace_id) WHERE revoked_at IS NULL;

COMMENT ON TABLE api_keys IS 'Keys of programs. Rows are never deleted: an id is never handed out again.';
COMMENT ON COLUMN api_keys.id IS 'What stands before the dot of a key; no secret.';
COMMENT ON COLUMN api_keys.workspace_id IS 'In which workspace its calls run.';
COMMENT ON COLUMN api_keys.name IS 'What it is for.';
COMMENT ON COLUMN api_keys.role IS 'What it may do at most.';
COMMENT ON COLUMN api_keys.scopes IS 'Of the role''s scopes, those that it has; empty: all.';
COMMENT ON COLUMN api_keys.digest IS 'HMAC-SHA-256 of the key under the server''s pepper.';
COMMENT ON COLUMN api_keys.created_by IS 'Who made it.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.expires_at IS 'First instant at which it counts for nothing; null: never.';
COMMENT ON COLUMN api_keys.last_used_at IS 'When it was last used, up to a minute late; null: never.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When it was revoked; null: it is not.';
COMMENT ON INDEX api_keys_by_workspace IS 'Lists of one workspace''s keys.';
COMMENT ON INDEX api_keys_live IS 'How many keys of a workspace are not revoked.';

CREATE TABLE audit_log (
  id              bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id    uuid         NOT NULL,
  occurred_at     timestamptz  NOT NULL DEFAULT clock_timestamp(),
  principal       text         NOT NULL CONSTRAINT audit_log_principal_check CHECK (char_length(principal) BETWEEN 1 AND 300),
  address         text         NOT NULL CONSTRAINT audit_log_address_check CHECK (octet_length(address) <= 64),
  action          text         COLLATE "C" NOT NULL
                               CONSTRAINT audit_log_action_check CHECK (octet_length(action) BETWEEN 1 AND 64),
  object          text         COLLATE "C" NOT NULL CONSTRAINT audit_log_object_check CHECK (octet_length(object) <= 300),
  details         jsonb        NOT NULL DEFAULT '{}',
  correlation_id  text         NOT NULL CONSTRAINT audit_log_correlation_id_check CHECK (octet_length(correlation_id) <= 128)
);

CREATE INDEX audit_log_by_workspace ON audit_log (workspace_id, occurred_at, id);
CREATE INDEX audit_log_by_object ON audit_log (workspace_id, object, occurred_at, id);
CREATE INDEX audit_log_by_time ON audit_log (occurred_at, id);

COMMENT ON TABLE audit_log IS 'Who did what to which object. Rows are only ever added.';
COMMENT ON COLUMN audit_log.id IS 'Order of writing.';
COMMENT ON COLUMN audit_log.workspace_id IS 'Whose object it was.';
COMMENT ON COLUMN audit_log.occurred_at IS 'When, by this server''s clock.';
COMMENT ON COLUMN audit_log.principal IS 'Who: key:<id>, user:<subject>, anonymous or system:<part>.';
COMMENT ON COLUMN audit_log.address IS 'From where, masked.';
COMMENT ON COLUMN audit_log.action IS 'What: a kind of object and a verb.';
COMMENT ON COLUMN audit_log.object IS 'To which object.';
COMMENT ON COLUMN audit_log.details IS 'What changed, and to what; no secrets.';
COMMENT ON COLUMN audit_log.correlation_id IS 'Correlation id of the call that did it.';
COMMENT ON INDEX audit_log_by_workspace IS 'One workspace''s log.';
COMMENT ON INDEX audit_log_by_object IS 'What was done to one object.';
COMMENT ON INDEX audit_log_by_time IS 'The whole log, for operators.';

CREATE FUNCTION audit_log_keep() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is only ever added to' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
COMMENT ON FUNCTION audit_log_keep() IS 'Refuses what is not adding, also to the owner.';
REVOKE ALL ON FUNCTION audit_log_keep() FROM PUBLIC;
CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION audit_log_keep();

CREATE TABLE reports (
  id          uuid         PRIMARY KEY,
  link_id     bigint       NOT NULL REFERENCES links (id),
  category    text         NOT NULL
                           CONSTRAINT reports_category_check
                           CHECK (category IN ('phishing', 'malware', 'spam', 'illegal', 'other')),
  comment     text         NOT NULL DEFAULT '' CONSTRAINT reports_comment_check CHECK (char_length(comment) <= 2000),
  contact     text         NOT NULL DEFAULT '' CONSTRAINT reports_contact_check CHECK (char_length(contact) <= 254),
  address     text         NOT NULL CONSTRAINT reports_address_check CHECK (octet_length(address) <= 64),
  created_at  timestamptz  NOT NULL DEFAULT clock_timestamp(),
  closed_at   timestamptz
);

CREATE INDEX reports_open ON reports (created_at, id) WHERE closed_at IS NULL;
CREATE INDEX reports_closed ON reports (created_at, id) WHERE closed_at IS NOT NULL;
CREATE INDEX reports_of_link ON reports (link_id, created_at, id);

COMMENT ON TABLE reports IS 'Reports of harmful links, by anybody.';
COMMENT ON COLUMN reports.id IS 'Identity.';
COMMENT ON COLUMN reports.link_id IS 'Which link.';
COMMENT ON COLUMN reports.category IS 'What is said to be wrong with it.';
COMMENT ON COLUMN reports.comment IS 'What the reporter wrote; not to be believed.';
COMMENT ON COLUMN reports.contact IS 'How to reach the reporter; may be empty.';
COMMENT ON COLUMN reports.address IS 'From where it came, masked.';
COMMENT ON COLUMN reports.created_at IS 'When it came in.';
COMMENT ON COLUMN reports.closed_at IS 'When an operator closed it; null: it is open.';
COMMENT ON INDEX reports_open IS 'What operators have still to look at, oldest first.';
COMMENT ON INDEX reports_closed IS 'What they have looked at.';
COMMENT ON INDEX reports_of_link IS 'All reports of one link.';

ALTER TABLE links
  ADD COLUMN blocked_reason text NOT NULL DEFAULT ''
    CONSTRAINT links_blocked_reason_check CHECK (char_length(blocked_reason) <= 1000);
COMMENT ON COLUMN links.blocked_reason IS 'Why an operator blocks it, or blocked it last.';
CREATE INDEX links_blocked_by_time ON links (blocked_at, id) WHERE blocked_at IS NOT NULL;
COMMENT ON INDEX links_blocked_by_time IS 'Lists of blocked links, for operators.';

-- By exact code within a workspace. The index over lower(short_code) serves redirects, which see all workspaces; under
-- row-level security it serves nobody, since lower() is not known to leak nothing.
CREATE UNIQUE INDEX links_own_code ON links (workspace_id, short_code);
COMMENT ON INDEX links_own_code IS 'One link of a workspace, by its code.';

ALTER TABLE click_budgets ADD COLUMN workspace_id uuid;
UPDATE click_budgets SET workspace_id = links.workspace_id FROM links WHERE links.id = click_budgets.link_id;
ALTER TABLE click_budgets ALTER COLUMN workspace_id SET NOT NULL;
COMMENT ON COLUMN click_budgets.workspace_id IS 'Whose link it is.';

CREATE OR REPLACE FUNCTION links_open_budget() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
  INSERT INTO public.click_budgets (link_id, workspace_id) VALUES (NEW.id, NEW.workspace_id) ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;

-- A principal is longer than before: `user:` and a subject.
ALTER TABLE idempotency_keys
  DROP CONSTRAINT idempotency_keys_principal_check,
  ADD CONSTRAINT idempotency_keys_principal_check CHECK (octet_length(principal) <= 300);

-- What owners may say of their links, and no more: blocking is the operators' alone.
REVOKE INSERT, UPDATE ON links FROM waypost_api;
GRANT
  INSERT (
    workspace_id, short_code, original_url, destination_flags, redirect_status, expires_at, title, tags, max_clicks,
    forward_query, terms, created_at, updated_at
  ),
  UPDATE (
    original_url, destination_flags, redirect_status, expires_at, title, tags, max_clicks, forward_query, terms, deleted_at
  )
  ON links TO waypost_api;
REVOKE INSERT ON click_budgets FROM waypost_api;
GRANT INSERT (link_id, workspace_id) ON click_budgets TO waypost_api;

GRANT SELECT (id, name, created_at), UPDATE (name) ON workspaces TO waypost_api;
GRANT SELECT, INSERT, UPDATE (role, name), DELETE ON members TO waypost_api;
GRANT
  SELECT (id, workspace_id, name, role, scopes, created_by, created_at, expires_at, last_used_at, revoked_at),
  INSERT (id, workspace_id, name, role, scopes, digest, created_by, expires_at),
  UPDATE (revoked_at)
  ON api_keys TO waypost_api;
-- Its place and time in the log nobody says but the server.
GRANT SELECT, INSERT (workspace_id, principal, address, action, object, details, correlation_id)
  ON audit_log TO waypost_api, waypost_operator;

GRANT SELECT ON workspaces TO waypost_identity;
GRANT SELECT (workspace_id, subject, role) ON members TO waypost_identity;
GRANT SELECT (id, workspace_id, role, scopes, digest, expires_at, last_used_at, revoked_at), UPDATE (last_used_at)
  ON api_keys TO waypost_identity;

GRANT SELECT, INSERT ON workspaces TO waypost_operator;
GRANT INSERT ON members TO waypost_operator;
GRANT SELECT (id, workspace_id, role, revoked_at, expires_at), INSERT ON api_keys TO waypost_operator;
GRANT SELECT, UPDATE (blocked_at, blocked_reason) ON links TO waypost_operator;
GRANT SELECT ON click_budgets TO waypost_operator;
GRANT SELECT, UPDATE (closed_at) ON reports TO waypost_operator;
GRANT INSERT ON outbox TO waypost_operator;

GRANT SELECT (link_id, address, created_at, closed_at), INSERT ON reports TO waypost_redirect;

-- Row-level security, for the owner, too. No policy for a role means no rows. The API's workspace is set inside of each
-- transaction; where it is not, it is null (or, where it once was in this session, empty), which equals nothing.
DO $$
DECLARE
  name text;
  own CONSTANT text := $own$ = nullif(current_setting('waypost.workspace', true), '')::uuid$own$;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'links', 'click_budgets', 'link_terms', 'idempotency_keys', 'outbox', 'members', 'api_keys', 'audit_log'
  ] LOOP
    EXECUTE format(
      'CREATE POLICY own ON %I TO waypost_api USING (workspace_id%s) WITH CHECK (workspace_id%s)', name, own, own
    );
  END LOOP;
  EXECUTE format('CREATE POLICY own ON workspaces TO waypost_api USING (id%s) WITH CHECK (id%s)', own, own);
  FOREACH name IN ARRAY ARRAY[
    'links', 'click_budgets', 'link_terms', 'idempotency_keys', 'outbox', 'members', 'api_keys', 'audit_log',
    'workspaces', 'reports'
  ] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;

-- The API counts clicks of its own links only: a row for another's link would stand in the way of theirs.
CREATE POLICY own_link ON click_budgets AS RESTRICTIVE FOR INSERT TO waypost_api
  WITH CHECK (EXISTS (SELECT FROM links WHERE links.id = link_id));

-- Jobs that serve all workspaces. What each may do with the rows it sees is in its grants.
CREATE POLICY every ON links TO waypost_redirect, waypost_sweeper, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON click_budgets TO waypost_redirect, waypost_sweeper, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON idempotency_keys TO waypost_sweeper USING (true);
CREATE POLICY every ON outbox TO waypost_relay, waypost_sweeper, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON workspaces TO waypost_identity, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON members TO waypost_identity, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON api_keys TO waypost_identity, waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON audit_log TO waypost_operator USING (true) WITH CHECK (true);
CREATE POLICY every ON reports TO waypost_redirect, waypost_operator USING (true) WITH CHECK (true);
