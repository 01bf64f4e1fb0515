-- Turns committed events into wakes. The run's lock decides against a park under way: whoever comes second sees the
-- other. Locked runs are skipped, so that routing never waits while it holds a lock; their events stay unrouted.
WITH arrived AS MATERIALIZED (
    SELECT event.run_id, event.event_id, event.name, event.payload, event.created_at, run.status, run.awaits
    FROM durable.events AS event
    JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id
    WHERE event.workflow_name_shard = %(shard_value)s AND event.routed_at IS NULL
      AND (run.status <> 'running' OR run.worker_id = %(worker_id)s)
    ORDER BY event.run_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF run SKIP LOCKED
), routed AS (
    UPDATE durable.events AS event
    SET routed_at = now()
    FROM arrived
    WHERE event.workflow_name_shard = %(shard_value)s
      AND event.run_id = arrived.run_id AND event.event_id = arrived.event_id
), woken AS (
    UPDATE durable.runs AS run
    SET status = 'queued', awaits = NULL, next_wake_at = NULL, updated_at = now()
    WHERE run.workflow_name_shard = %(shard_value)s
      AND run.run_id IN (SELECT run_id FROM arrived WHERE status = 'waiting_event' AND name = ANY(awaits))
    RETURNING run.run_id
)
SELECT arrived.run_id::text, arrived.event_id::text, arrived.name, arrived.payload::text,
       arrived.status = 'running', (SELECT count(*) FROM woken)
FROM arrived
ORDER BY arrived.created_at, arrived.event_id
