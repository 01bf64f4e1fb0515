-- A replay sets the same status again, which changes nothing.
UPDATE durable.runs AS run
SET status_detail = shown.detail::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(shown)s::text[]) AS shown (run_id, epoch, detail)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = shown.run_id AND run.epoch = shown.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
  AND run.status_detail::text IS DISTINCT FROM shown.detail
