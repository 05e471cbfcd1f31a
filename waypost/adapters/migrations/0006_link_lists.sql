-- The indexes of lists, and the words of the links that there are. Apart from the step before, so that links are read, and
-- visitors redirected, while they are made; writers wait.

-- As waypost.search_terms has it, but for plain letters and digits alone: what else a link is found by comes with its next
-- change. Its version stays, since nothing that anybody caches changes; the triggers would count it up.
ALTER TABLE links DISABLE TRIGGER USER;
UPDATE links SET terms = ARRAY(
  SELECT '=' || left(word, 64)
  FROM regexp_split_to_table(
    lower(short_code || ' ' || regexp_replace(original_url, '^[a-zA-Z]+://(www\.)?([^?#]*).*$', '\2')) COLLATE "C",
    '[^a-z0-9]+'
  ) WITH ORDINALITY AS split (word, place)
  WHERE word <> ''
  GROUP BY word
  ORDER BY min(place)
  LIMIT 64
)
WHERE terms = '{}';
ALTER TABLE links ENABLE TRIGGER USER;

INSERT INTO link_terms (workspace_id, term, created_at, link_id)
SELECT DISTINCT workspace_id, unnest(terms), created_at, id FROM links
ON CONFLICT DO NOTHING;

-- An index for each order of a list, and one in the usual order for each state. All lead with the workspace.
CREATE INDEX links_by_created ON links (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX links_by_updated ON links (workspace_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX links_by_code ON links (workspace_id, short_code, id) WHERE deleted_at IS NULL;
CREATE INDEX links_deleted ON links (workspace_id, created_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX links_deleted_by_updated ON links (workspace_id, updated_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX links_deleted_by_code ON links (workspace_id, short_code, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX links_blocked ON links (workspace_id, created_at, id) WHERE blocked_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX links_expiring ON links (workspace_id, created_at, id)
  WHERE expires_at IS NOT NULL AND deleted_at IS NULL AND blocked_at IS NULL;
CREATE INDEX links_limited ON links (workspace_id, created_at, id) WHERE max_clicks IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX links_warned ON links (workspace_id, created_at, id) WHERE warned_at IS NOT NULL AND deleted_at IS NULL;
-- What has expired, once the sweep has seen it, is not in the way of those who look for what has not.
CREATE INDEX links_open ON links (workspace_id, created_at, id)
  WHERE deleted_at IS NULL AND blocked_at IS NULL AND expired_at IS NULL AND warned_at IS NULL;

COMMENT ON INDEX links_by_created IS 'Lists, the newest or the oldest first.';
COMMENT ON INDEX links_by_updated IS 'Lists by the last change.';
COMMENT ON INDEX links_by_code IS 'Lists by short code.';
COMMENT ON INDEX links_deleted IS 'Lists of deleted links.';
COMMENT ON INDEX links_deleted_by_updated IS 'Lists of deleted links by the last change.';
COMMENT ON INDEX links_deleted_by_code IS 'Lists of deleted links by short code.';
COMMENT ON INDEX links_blocked IS 'Lists of blocked links.';
COMMENT ON INDEX links_expiring IS 'Lists of expired links.';
COMMENT ON INDEX links_limited IS 'Lists of links whose clicks are used up.';
COMMENT ON INDEX links_warned IS 'Lists of links that visitors are warned of.';
COMMENT ON INDEX links_open IS 'Lists of active links.';

-- Last, since it shuts readers out until all is done.
DROP INDEX links_workspace;
