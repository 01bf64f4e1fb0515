-- The ids of the requests follow from parent and child: however often the parent is replayed, it asks each child once.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, sender_run_id)
SELECT %(shard_value)s, child.run_id, unwanted.request_id, 'cancel', 'cancel', unwanted.reason::json, unwanted.parent_run_id
FROM unnest(%(run_ids)s::uuid[], %(request_ids)s::uuid[], %(parent_run_ids)s::uuid[], %(reasons)s::text[])
     AS unwanted (run_id, request_id, parent_run_id, reason)
JOIN durable.runs AS child ON child.workflow_name_shard = %(shard_value)s AND child.run_id = unwanted.run_id
WHERE child.run_id = ANY (%(run_ids)s::uuid[]) AND child.status NOT IN ('completed', 'failed', 'cancelled')
ON CONFLICT DO NOTHING
