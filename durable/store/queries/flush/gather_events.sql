-- The first of several events has come: the wait ends at another time now, whatever its limit was before.
UPDATE durable.waits AS wait
SET wake_at = gathering.until, payload = 'true'
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[], %(untils)s::timestamptz[])
     AS gathering (run_id, epoch, wait_key, until)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = gathering.run_id AND run.epoch = gathering.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = gathering.run_id
  AND wait.run_id = ANY (%(run_ids)s::uuid[]) AND wait.wait_key = gathering.wait_key
  AND wait.satisfied_at IS NULL AND wait.payload IS NULL
