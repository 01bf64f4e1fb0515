-- A wait that is already open keeps its first wake_at: a replay does not start the sleep again.
INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, event_name, child_run_id, wake_at)
SELECT %(shard_value)s, wait.run_id, wait.wait_key, wait.wait_type, wait.event_name, wait.child_run_id,
       coalesce(wait.until, now() + make_interval(secs => wait.wake_in))
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[], %(wait_types)s::text[],
            %(event_names)s::text[], %(child_run_ids)s::uuid[], %(wake_ins)s::float8[], %(untils)s::timestamptz[])
     AS wait (run_id, epoch, wait_key, wait_type, event_name, child_run_id, wake_in, until)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = wait.run_id AND run.epoch = wait.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, wait_key) DO NOTHING
