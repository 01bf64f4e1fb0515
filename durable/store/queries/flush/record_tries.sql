-- A try that failed, or what a step has said while it is being executed, takes the place of what was recorded before.
INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, event_name, wake_at, payload)
SELECT %(shard_value)s, try.run_id, try.wait_key, try.wait_type, try.fn, try.until, try.payload::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[], %(wait_types)s::text[], %(fns)s::text[],
            %(untils)s::timestamptz[], %(payloads)s::text[])
     AS try (run_id, epoch, wait_key, wait_type, fn, until, payload)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = try.run_id AND run.epoch = try.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, wait_key) DO UPDATE
SET wake_at = excluded.wake_at, payload = excluded.payload
WHERE waits.satisfied_at IS NULL AND waits.wait_type = excluded.wait_type
