-- The runs are locked first and then checked once more: a run that is being retried no longer counts as ended, nor does
-- one whose retry was requested, or after whose end something is still to happen. A later run of a key goes only with all
-- that were begun before it: otherwise another run would get its id.
WITH locked AS MATERIALIZED (
    SELECT run.run_id, run.key, run.generation
    FROM durable.runs AS run
    WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY (%(run_ids)s::uuid[])
      AND run.completed_at < now() - make_interval(secs => %(age)s)
      AND NOT EXISTS (SELECT FROM durable.events AS event
                      WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
                        AND (event.routed_at IS NULL AND event.kind = 'retry'
                             OR event.consumed_by IS NULL AND event.kind = 'next'))
    ORDER BY run.run_id
    FOR UPDATE OF run SKIP LOCKED
), gone AS MATERIALIZED (
    SELECT locked.run_id
    FROM locked
    WHERE locked.generation IS NULL OR NOT EXISTS (
        SELECT FROM durable.runs AS older
        WHERE older.workflow_name_shard = %(shard_value)s AND older.key = locked.key
          AND coalesce(older.generation, 0) < locked.generation
          AND older.run_id <> ALL (ARRAY(SELECT run_id FROM locked)))
), waits AS (
    DELETE FROM durable.waits
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM gone))
), events AS (
    DELETE FROM durable.events
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM gone))
), chapters AS (
    DELETE FROM durable.chapters
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM gone))
), steps AS (
    DELETE FROM durable.steps
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM gone))
)
DELETE FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (ARRAY(SELECT run_id FROM gone))
RETURNING run_id::text
