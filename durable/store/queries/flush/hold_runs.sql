-- Like park_runs, for a run whose cancel is held until children have ended: nothing else wakes it, neither its other
-- waits nor its deadline, and the request to cancel it stays unmet.
UPDATE durable.runs AS run
SET status = 'waiting_event', awaits = '{}', awaits_runs = ours.children::uuid[], next_wake_at = NULL, worker_id = NULL,
    set_asides = 0, isolation = NULL, updated_at = now()
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(children)s::text[]) AS ours (run_id, epoch, children)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
