UPDATE durable.events
SET consumed_by = '', routed_at = coalesce(routed_at, now())
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[]) AND kind = 'next'
  AND event_id = ANY (%(event_ids)s::uuid[])
