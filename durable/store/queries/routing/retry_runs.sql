-- Queues runs whose retry was requested and which lock_retries has locked, and drops the requests that were made of ended
-- ones before. What failed in them is forgotten in the same transaction. The epoch is raised so that a flush whose answer
-- was lost cannot bring it back, but not that of a run that was never started, which is what an epoch of 0 means. An ended
-- run with a newer one of its key stays as it is; this must be looked at after the locks were taken, because by then
-- the transaction that let the newer one start has committed. A run that still has to wait for the end of another one does so again.
WITH requests AS MATERIALIZED (
    SELECT event.run_id, event.created_at, run.status
    FROM durable.events AS event
    JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id
    WHERE event.workflow_name_shard = %(shard_value)s AND event.routed_at IS NULL AND event.kind = 'retry'
      AND event.run_id = ANY (%(run_ids)s::uuid[]) AND run.run_id = ANY (%(run_ids)s::uuid[])
), met AS (
    UPDATE durable.events AS event
    SET routed_at = now(), consumed_by = ''
    FROM requests
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = requests.run_id
      AND event.run_id = ANY (ARRAY(SELECT run_id FROM requests))
      AND (event.kind = 'retry' OR event.kind IN ('cancel', 'terminate', 'pause', 'resume') AND requests.status <> 'sleeping')
      AND event.consumed_by IS NULL AND event.created_at <= requests.created_at
)
UPDATE durable.runs AS run
SET status = CASE WHEN run.follows IS NULL THEN 'queued' ELSE 'sleeping' END, epoch = CASE WHEN run.epoch > 0 THEN run.epoch + 1 ELSE 0 END, completed_at = NULL,
    next_wake_at = NULL, deadline_at = CASE WHEN run.status = 'sleeping' THEN run.deadline_at END,
    strikes = 0, lone_strikes = 0, memos_at_takeover = 0, isolation = NULL, died_with = NULL, set_asides = 0,
    started_at = CASE WHEN run.status = 'sleeping' THEN run.started_at END,
    updated_at = now()
WHERE run.workflow_name_shard = %(shard_value)s
  AND run.run_id = ANY (ARRAY(SELECT run_id FROM requests WHERE status IN ('failed', 'cancelled', 'sleeping')))
  AND (run.status = 'sleeping' AND run.set_asides > 0
       OR run.status <> 'sleeping' AND NOT EXISTS (
            SELECT FROM durable.runs AS newer
            WHERE newer.workflow_name_shard = %(shard_value)s AND newer.key = run.key
              AND newer.generation > coalesce(run.generation, 0)))
RETURNING run.run_id::text, run.epoch,
          EXISTS (SELECT FROM requests WHERE requests.run_id = run.run_id AND requests.status = 'sleeping') AS was_set_aside
