-- Workspaces and links.

CREATE TABLE workspaces (
  id          uuid        PRIMARY KEY,
  name        text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 256),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE workspaces IS 'Who links belong to.';
COMMENT ON COLUMN workspaces.id IS 'Identity.';
COMMENT ON COLUMN workspaces.name IS 'For people.';
COMMENT ON COLUMN workspaces.created_at IS 'When it was made.';

INSERT INTO workspaces (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'default');

-- No column here moves with traffic: a counter in this row would make every click rewrite it.
CREATE TABLE links (
  id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id       uuid        NOT NULL REFERENCES workspaces (id),
  short_code         text        COLLATE "C" NOT NULL
                                 CONSTRAINT links_short_code_check CHECK (short_code ~ '^[A-Za-z0-9_-]{3,64}$'),
  -- 8,192 bytes are taken in; the ASCII form of an international host may be longer than what was given.
  original_url       text        NOT NULL
                                 CONSTRAINT links_original_url_check CHECK (octet_length(original_url) BETWEEN 1 AND 8704),
  destination_flags  text[]      NOT NULL DEFAULT '{}'
                                 CONSTRAINT links_destination_flags_check CHECK (cardinality(destination_flags) <= 32),
  redirect_status    smallint    NOT NULL
                                 CONSTRAINT links_redirect_status_check CHECK (redirect_status IN (301, 302, 307, 308)),
  version            bigint      NOT NULL DEFAULT 1 CONSTRAINT links_version_check CHECK (version >= 1),
  blocked_at         timestamptz,
  deleted_at         timestamptz,
  expires_at         timestamptz CONSTRAINT links_expires_at_check CHECK (expires_at < TIMESTAMPTZ '9999-01-01 00:00:00+00'),
  expired_at         timestamptz,
  created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Unique without case, found exactly: queries ask for lower(short_code) and short_code, so one index serves both.
CREATE UNIQUE INDEX links_code_key ON links (lower(short_code));
CREATE INDEX links_workspace ON links (workspace_id, id);
CREATE INDEX links_due ON links (expires_at) WHERE expires_at IS NOT NULL AND expired_at IS NULL AND deleted_at IS NULL;

COMMENT ON TABLE links IS 'Short links. Rows are never deleted: a code is never handed out again.';
COMMENT ON COLUMN links.id IS 'Order of making, for lists; never shown.';
COMMENT ON COLUMN links.workspace_id IS 'Whose it is; never changes.';
COMMENT ON COLUMN links.short_code IS 'The code after the host''s name; unique without regard to case, looked up exactly; never changes.';
COMMENT ON COLUMN links.original_url IS 'Where it leads, byte for byte.';
COMMENT ON COLUMN links.destination_flags IS 'What is odd about the destination''s host (see DestinationFlag of the API).';
COMMENT ON COLUMN links.redirect_status IS 'HTTP status of its redirect.';
COMMENT ON COLUMN links.version IS 'Starts at 1, grows by one with every change; set by trigger.';
COMMENT ON COLUMN links.blocked_at IS 'Since when an operator blocks it; null: not blocked.';
COMMENT ON COLUMN links.deleted_at IS 'When it was deleted; null: it was not.';
COMMENT ON COLUMN links.expires_at IS 'First instant at which it no longer redirects; null: never.';
COMMENT ON COLUMN links.expired_at IS 'When the sweep saw that its time is over; null: not yet. A changed expires_at clears it.';
COMMENT ON COLUMN links.created_at IS 'When it was made.';
COMMENT ON COLUMN links.updated_at IS 'When anything of it last changed; set by trigger.';
COMMENT ON INDEX links_code_key IS 'One code, whatever its letters'' case.';
COMMENT ON INDEX links_workspace IS 'Lists of one workspace, page by page.';
COMMENT ON INDEX links_due IS 'What the sweep has still to mark.';

CREATE FUNCTION links_before_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF NEW.id <> OLD.id OR NEW.short_code <> OLD.short_code OR NEW.workspace_id <> OLD.workspace_id
     OR NEW.created_at <> OLD.created_at THEN
    RAISE EXCEPTION 'id, short_code, workspace_id and created_at of a link never change'
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF NEW.expires_at IS DISTINCT FROM OLD.expires_at THEN
    NEW.expired_at := NULL;
  END IF;
  NEW.version := OLD.version + 1;
  NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION links_before_update() IS 'Counts the version up, stamps updated_at, keeps what never changes.';
REVOKE ALL ON FUNCTION links_before_update() FROM PUBLIC;

CREATE TRIGGER links_before_update BEFORE UPDATE ON links FOR EACH ROW EXECUTE FUNCTION links_before_update();

CREATE FUNCTION links_notify() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM pg_notify('waypost_links', NEW.short_code || ' ' || NEW.version);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION links_notify() IS 'Tells followers of the channel waypost_links the code and version of a changed link.';
REVOKE ALL ON FUNCTION links_notify() FROM PUBLIC;

-- Not for inserts and not for the sweep's mark: transactions that notify commit one after the other.
CREATE TRIGGER links_notify AFTER UPDATE ON links FOR EACH ROW
  WHEN (
    OLD.original_url IS DISTINCT FROM NEW.original_url
    OR OLD.redirect_status IS DISTINCT FROM NEW.redirect_status
    OR OLD.blocked_at IS DISTINCT FROM NEW.blocked_at
    OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
    OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
  )
  EXECUTE FUNCTION links_notify();

GRANT SELECT, INSERT, UPDATE ON links TO waypost_api;
GRANT SELECT (short_code, original_url, redirect_status, version, blocked_at, deleted_at, expires_at)
  ON links TO waypost_redirect;
GRANT SELECT, UPDATE (expired_at) ON links TO waypost_sweeper;
