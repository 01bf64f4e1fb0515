UPDATE durable.events AS event
SET consumed_by = answer.wait_key, routed_at = coalesce(event.routed_at, now())
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[], %(event_ids)s::uuid[])
     AS answer (run_id, epoch, wait_key, event_id)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = answer.run_id AND run.epoch = answer.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
WHERE event.workflow_name_shard = %(shard_value)s
  AND event.run_id = answer.run_id
  AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.event_id = answer.event_id
