-- The epoch is raised here already, so that from now on the dead worker can write nothing, should it wake up. A living
-- worker gives up what it no longer holds; the culprits among that have broken it.
-- Strikes count the deaths with no memo recorded since the previous takeover. core/suspicion explains what follows from
-- them.
WITH lost AS MATERIALIZED (
    SELECT run_id, strikes, lone_strikes, memos_at_takeover, isolation, died_with
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND status = 'running' AND worker_id = %(owner)s
      AND run_id <> ALL(%(held)s::uuid[])
    ORDER BY run_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), counted AS MATERIALIZED (
    SELECT lost.*,
           (SELECT count(*) FROM durable.steps AS step
            WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = lost.run_id)
           + (SELECT count(*) FROM durable.waits AS wait
              WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = lost.run_id) AS memos,
           pg_catalog.array_remove(%(companions)s::text[],
                                   pg_catalog.concat(%(shard_value)s::text, ':', lost.run_id)) AS companions,
           lost.run_id = ANY (%(culprits)s::uuid[]) AS is_culprit
    FROM lost
), struck AS MATERIALIZED (
    SELECT run_id, memos,
           CASE WHEN memos > memos_at_takeover THEN 0 ELSE strikes END + %(is_death)s::int AS strikes,
           CASE WHEN memos > memos_at_takeover THEN is_culprit::int
                ELSE lone_strikes + (is_culprit OR %(is_death)s::int = 1 AND isolation IS NOT DISTINCT FROM 'trial')::int
           END AS lone_strikes,
           CASE WHEN %(is_death)s::int = 1 AND pg_catalog.cardinality(companions) > 0 THEN companions[:10]
                WHEN memos > memos_at_takeover THEN NULL
                ELSE died_with END AS died_with,
           is_culprit
    FROM counted
), judged AS MATERIALIZED (
    SELECT struck.*, lone_strikes >= %(max_strikes)s AS is_condemned,
           %(is_death)s::int = 1 AND strikes >= %(suspect_strikes)s AS is_suspect
    FROM struck
)
UPDATE durable.runs AS run
SET status = CASE WHEN judged.is_condemned THEN 'failed' WHEN judged.is_suspect THEN 'sleeping' ELSE 'queued' END,
    error = CASE WHEN judged.is_condemned
                 THEN pg_catalog.json_build_object('type', 'CrashLoop', 'message', pg_catalog.concat(
                     %(crash_loop)s::text, '; with it died: ' || pg_catalog.array_to_string(judged.died_with, ', ')))
                 ELSE run.error END,
    completed_at = CASE WHEN judged.is_condemned THEN now() END,
    next_wake_at = CASE WHEN judged.is_suspect AND NOT judged.is_condemned
                        THEN now() + make_interval(secs => least(
                            %(max_pause)s::float8,
                            %(pause)s::float8 * pg_catalog.power(2, least(judged.strikes - %(suspect_strikes)s, 60)))) END,
    isolation = CASE WHEN judged.is_condemned OR NOT judged.is_suspect THEN NULL
                     WHEN judged.strikes >= %(sole_strikes)s THEN 'sole'
                     WHEN judged.strikes >= %(alone_strikes)s OR judged.died_with IS NULL THEN 'alone'
                     ELSE 'group' END,
    died_with = judged.died_with, strikes = judged.strikes, lone_strikes = judged.lone_strikes,
    memos_at_takeover = judged.memos, takeovers = run.takeovers + (%(is_death)s::int = 1 OR judged.is_culprit)::int,
    epoch = run.epoch + 1, worker_id = NULL, updated_at = now()
FROM judged
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = judged.run_id
RETURNING run.run_id::text, run.status, run.error::text AS error, run.parent_shard, run.parent_run_id::text
