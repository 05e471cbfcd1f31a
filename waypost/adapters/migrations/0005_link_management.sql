-- What owners say of their links, numbers of clicks, search, and answers that are kept for retries.

ALTER TABLE links
  ADD COLUMN title          text     NOT NULL DEFAULT ''
                                     CONSTRAINT links_title_check CHECK (char_length(title) <= 256),
  ADD COLUMN tags           text[]   NOT NULL DEFAULT '{}'
                                     CONSTRAINT links_tags_check CHECK (cardinality(tags) <= 20),
  ADD COLUMN max_clicks     integer  CONSTRAINT links_max_clicks_check CHECK (max_clicks BETWEEN 1 AND 1000000000),
  ADD COLUMN forward_query  boolean  NOT NULL DEFAULT false,
  ADD COLUMN terms          text[]   COLLATE "C" NOT NULL DEFAULT '{}'
                                     CONSTRAINT links_terms_check CHECK (cardinality(terms) <= 84),
  ADD COLUMN warned_at      timestamptz;

COMMENT ON COLUMN links.title IS 'What its owner calls it; empty: nothing.';
COMMENT ON COLUMN links.tags IS 'Its owner''s labels, in the order given.';
COMMENT ON COLUMN links.max_clicks IS 'How many redirects it serves in all; null: any number. See click_budgets.';
COMMENT ON COLUMN links.forward_query IS 'Whether the query string of the short address goes on to the destination.';
COMMENT ON COLUMN links.terms IS 'What it has in link_terms.';
COMMENT ON COLUMN links.warned_at IS 'Since when visitors are warned before they go on; null: they are not.';

-- Apart from the link, whose row no click rewrites; half of each page is left free, so that a click rewrites no index.
CREATE TABLE click_budgets (
  link_id      bigint   PRIMARY KEY REFERENCES links (id),
  clicks_used  integer  NOT NULL DEFAULT 0 CONSTRAINT click_budgets_clicks_used_check CHECK (clicks_used >= 0)
) WITH (fillfactor = 50);

COMMENT ON TABLE click_budgets IS 'How many clicks are used of each link that has, or once had, a number of them.';
COMMENT ON COLUMN click_budgets.link_id IS 'Which link.';
COMMENT ON COLUMN click_budgets.clicks_used IS 'Redirects served while the link had a number of clicks.';

CREATE FUNCTION links_open_budget() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
  INSERT INTO public.click_budgets (link_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION links_open_budget() IS 'Gives a link with a number of clicks the row that counts them.';
REVOKE ALL ON FUNCTION links_open_budget() FROM PUBLIC;

CREATE TRIGGER links_open_budget AFTER INSERT OR UPDATE OF max_clicks ON links FOR EACH ROW
  WHEN (NEW.max_clicks IS NOT NULL) EXECUTE FUNCTION links_open_budget();

DROP TRIGGER links_notify ON links;
CREATE TRIGGER links_notify AFTER UPDATE ON links FOR EACH ROW
  WHEN (
    OLD.original_url IS DISTINCT FROM NEW.original_url
    OR OLD.redirect_status IS DISTINCT FROM NEW.redirect_status
    OR OLD.forward_query IS DISTINCT FROM NEW.forward_query
    OR OLD.max_clicks IS DISTINCT FROM NEW.max_clicks
    OR OLD.blocked_at IS DISTINCT FROM NEW.blocked_at
    OR OLD.warned_at IS DISTINCT FROM NEW.warned_at
    OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
    OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
  )
  EXECUTE FUNCTION links_notify();

-- An inverted index as a table: its key leads with the workspace and compares by operators that leak nothing, so it serves
-- under row-level security too. created_at, which never changes, brings what is found in the order of the list.
CREATE TABLE link_terms (
  workspace_id  uuid         NOT NULL,
  term          text         COLLATE "C" NOT NULL
                             CONSTRAINT link_terms_term_check CHECK (char_length(term) BETWEEN 2 AND 65),
  created_at    timestamptz  NOT NULL,
  link_id       bigint       NOT NULL,
  PRIMARY KEY (workspace_id, term, created_at, link_id)
);

COMMENT ON TABLE link_terms IS 'By which words and tags links are found; written with the link, whose rows are never deleted.';
COMMENT ON COLUMN link_terms.workspace_id IS 'Whose link it is.';
COMMENT ON COLUMN link_terms.term IS '#tag, or =word of the title, the code, the host or the path.';
COMMENT ON COLUMN link_terms.created_at IS 'When the link was made.';
COMMENT ON COLUMN link_terms.link_id IS 'Which link.';

CREATE TABLE idempotency_keys (
  workspace_id  uuid         NOT NULL,
  principal     text         NOT NULL CONSTRAINT idempotency_keys_principal_check CHECK (octet_length(principal) <= 256),
  method        text         NOT NULL CONSTRAINT idempotency_keys_method_check CHECK (octet_length(method) <= 64),
  key           text         COLLATE "C" NOT NULL
                             CONSTRAINT idempotency_keys_key_check CHECK (octet_length(key) BETWEEN 1 AND 128),
  fingerprint   bytea        NOT NULL CONSTRAINT idempotency_keys_fingerprint_check CHECK (octet_length(fingerprint) = 32),
  answer        bytea,
  created_at    timestamptz  NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (workspace_id, principal, method, key)
);

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

COMMENT ON TABLE idempotency_keys IS 'What requests with an idempotency key were answered. Older than a day they count for nothing.';
COMMENT ON COLUMN idempotency_keys.workspace_id IS 'Whose request it was.';
COMMENT ON COLUMN idempotency_keys.principal IS 'Who in the workspace asked.';
COMMENT ON COLUMN idempotency_keys.method IS 'Which method.';
COMMENT ON COLUMN idempotency_keys.key IS 'The key, as it was given.';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'SHA-256 of the request without its key.';
COMMENT ON COLUMN idempotency_keys.answer IS 'The answer''s message; null only inside of the transaction that makes it.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When it was first asked.';
COMMENT ON INDEX idempotency_keys_created IS 'What the sweep has still to forget.';

GRANT SELECT, INSERT ON click_budgets TO waypost_api;
GRANT SELECT, INSERT, DELETE ON link_terms TO waypost_api;
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO waypost_api;
GRANT SELECT (id, created_at, max_clicks, forward_query, warned_at) ON links TO waypost_redirect;
GRANT SELECT, UPDATE (clicks_used) ON click_budgets TO waypost_redirect;
GRANT SELECT ON click_budgets TO waypost_sweeper;
GRANT SELECT (workspace_id, principal, method, key, created_at), DELETE ON idempotency_keys TO waypost_sweeper;
