-- Locks the runs that are still ours, against a takeover, until the flush commits. Whoever has an owner is running; to ask
-- for the status, too, would offer the index of owned runs, and with it a look at all of them for each.
SELECT run.run_id::text
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS ours (run_id, epoch)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
WHERE run.worker_id = %(worker_id)s
ORDER BY run.run_id
FOR NO KEY UPDATE OF run
