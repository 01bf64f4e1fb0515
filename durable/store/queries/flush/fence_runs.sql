-- Locks the runs that are still ours against a takeover, until the flush commits. A run that has an owner is running.
-- As in every statement of a flush, the ids are given twice, because without statistics the planner would rather read
-- and join a whole shard value. coalesce is used because the planner would otherwise take an owner to be so rare that
-- any join will do.
SELECT run.run_id::text
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS ours (run_id, epoch)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
WHERE run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
ORDER BY run.run_id
FOR NO KEY UPDATE OF run
