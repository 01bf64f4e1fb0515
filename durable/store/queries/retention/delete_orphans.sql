-- Events whose run was deleted while their transaction was open, or never existed.
DELETE FROM durable.events AS event
WHERE event.workflow_name_shard = %(shard_value)s AND (event.routed_at IS NULL OR event.consumed_by = '')
  AND NOT EXISTS (SELECT FROM durable.runs AS run
                  WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id)
