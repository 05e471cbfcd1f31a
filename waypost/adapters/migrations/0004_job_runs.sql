-- The book of scheduled jobs.

CREATE TABLE job_runs (
  job          text        NOT NULL CONSTRAINT job_runs_job_check CHECK (octet_length(job) BETWEEN 1 AND 64),
  tick         timestamptz NOT NULL,
  started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at  timestamptz,
  affected     integer     NOT NULL DEFAULT 0,
  error        text        NOT NULL DEFAULT '' CONSTRAINT job_runs_error_check CHECK (octet_length(error) <= 4096),
  PRIMARY KEY (job, tick)
);

COMMENT ON TABLE job_runs IS 'Runs of scheduled jobs; the key lets only one worker take a tick. Runs older than a day are dropped.';
COMMENT ON COLUMN job_runs.job IS 'The job''s name.';
COMMENT ON COLUMN job_runs.tick IS 'The tick: a multiple of the job''s interval since 1970, by this server''s clock.';
COMMENT ON COLUMN job_runs.started_at IS 'When a worker took it.';
COMMENT ON COLUMN job_runs.finished_at IS 'When it was done; null: it runs, or its worker died.';
COMMENT ON COLUMN job_runs.affected IS 'How many rows it changed.';
COMMENT ON COLUMN job_runs.error IS 'Why it failed; empty: it did not.';

GRANT SELECT, INSERT, UPDATE, DELETE ON job_runs TO waypost_sweeper;
