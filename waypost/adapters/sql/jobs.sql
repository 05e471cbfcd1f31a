-- Scheduled jobs: one row for each (job, tick), by the server's clock.

-- name: claim_tick
-- $1 job, $2 interval. No row: somebody has the tick. Who takes one drops the job's runs of more than a day ago.
WITH current_tick AS (
  SELECT date_bin($2::interval, clock_timestamp(), TIMESTAMPTZ '1970-01-01 00:00:00+00') AS tick
), run AS (
  INSERT INTO job_runs (job, tick)
  SELECT $1, tick FROM current_tick
  ON CONFLICT DO NOTHING
  RETURNING job, tick, started_at, finished_at, affected, error
), dropped AS (
  DELETE FROM job_runs
  USING run
  WHERE job_runs.job = run.job AND job_runs.tick < run.tick - greatest(interval '1 day', 10 * $2::interval)
)
SELECT job, tick, started_at, finished_at, affected, error FROM run;

-- name: finish_tick
-- $1 job, $2 tick, $3 rows changed, $4 error.
UPDATE job_runs SET finished_at = clock_timestamp(), affected = $3, error = $4 WHERE job = $1 AND tick = $2;

-- name: last_runs
-- The newest run of each job, one index look-up a job.
WITH RECURSIVE names AS (
  (SELECT job FROM job_runs ORDER BY job LIMIT 1)
  UNION ALL
  SELECT (SELECT job FROM job_runs WHERE job > names.job ORDER BY job LIMIT 1) FROM names WHERE names.job IS NOT NULL
)
SELECT run.job, run.tick, run.started_at, run.finished_at, run.affected, run.error
FROM names
CROSS JOIN LATERAL (SELECT * FROM job_runs WHERE job_runs.job = names.job ORDER BY tick DESC LIMIT 1) AS run;
