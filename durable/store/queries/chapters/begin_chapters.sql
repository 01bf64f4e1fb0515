-- Runs that continue as new: the chapter ends, and with it all memos and open waits; everything else about the run stays
-- in place. This comes last in the flush, so that what its last turn has recorded is counted and consumed, and the epoch
-- is raised, so that nothing of it can come back. Ends of children that were not read belong to no memo any more. Events
-- that were consumed and are older than the chapter are deleted, because nothing else ever ends that could delete them;
-- until then, their keys are known. A request that was answered is kept for some minutes more, because whoever asked may
-- not have read the answer yet, and one that was taken but not answered goes back into the inbox, for the next chapter. Of a run with a key, the last one that it has read stays, because what happens after
-- its end depends on whether it has read any (load_next).
WITH mine AS MATERIALIZED (
    SELECT run.run_id, coalesce(run.chapter, 1) AS chapter, run.version, run.input,
           coalesce(before.ended_at, run.created_at) AS began_at,
           CASE WHEN run.key IS NOT NULL THEN (
               SELECT max(event.event_id::text)
               FROM durable.events AS event
               WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
                 AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.kind IN ('event', 'request')
                 AND event.consumed_by <> '')
           END AS last_read
    FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS ours (run_id, epoch)
    JOIN durable.runs AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
     AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
    LEFT JOIN durable.chapters AS before
      ON before.workflow_name_shard = %(shard_value)s AND before.run_id = run.run_id
     AND before.run_id = ANY (%(run_ids)s::uuid[]) AND before.chapter = run.chapter - 1
), ended AS (
    INSERT INTO durable.chapters (workflow_name_shard, run_id, chapter, version, memos, began_at, ended_at, input)
    SELECT %(shard_value)s, mine.run_id, mine.chapter, mine.version,
           (SELECT count(*) FROM durable.steps AS step
            WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = mine.run_id)
           + (SELECT count(*) FROM durable.waits AS wait
              WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = mine.run_id
                AND wait.satisfied_at IS NOT NULL),
           mine.began_at, now(), mine.input
    FROM mine
), steps AS (
    DELETE FROM durable.steps AS step
    USING mine
    WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = mine.run_id
      AND step.run_id = ANY (%(run_ids)s::uuid[])
), waits AS (
    DELETE FROM durable.waits AS wait
    USING mine
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = mine.run_id
      AND wait.run_id = ANY (%(run_ids)s::uuid[])
), dismissed AS (
    UPDATE durable.events AS event
    SET consumed_by = '', routed_at = coalesce(event.routed_at, now())
    FROM mine
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = mine.run_id
      AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.kind = 'child' AND event.consumed_by IS NULL
), unanswered AS (
    UPDATE durable.events AS event
    SET consumed_by = NULL
    FROM mine
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = mine.run_id
      AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.kind = 'request' AND event.reply IS NULL
      AND event.consumed_by <> ''
), forgotten AS (
    DELETE FROM durable.events AS event
    USING mine
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = mine.run_id
      AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.consumed_by IS NOT NULL AND event.created_at < mine.began_at
      AND (event.kind <> 'request'
           OR event.replied_at < mine.began_at AND event.replied_at < now() - interval '10 minutes')
      AND event.event_id IS DISTINCT FROM mine.last_read::uuid
)
UPDATE durable.runs AS run
SET status = 'queued', chapter = coalesce(run.chapter, 1) + 1, input = next.input::json, version = next.version,
    epoch = run.epoch + 1, worker_id = NULL, attempts = 0, set_asides = 0, strikes = 0, lone_strikes = 0,
    memos_at_takeover = 0, isolation = NULL, died_with = NULL, error = NULL, started_at = NULL,
    deadline_at = now() + make_interval(secs => next.timeout), updated_at = now()
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(inputs)s::text[], %(versions)s::int[], %(timeouts)s::float8[])
     AS next (run_id, epoch, input, version, timeout)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = next.run_id AND run.epoch = next.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
RETURNING run.run_id::text
