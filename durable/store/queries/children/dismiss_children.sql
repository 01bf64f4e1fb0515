-- The ends of children that are asked to cancel, for a retry of their parent: it begins them again, unless they
-- complete after all and say so. Nothing waits for them meanwhile.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, child_status, payload, routed_at, sender_run_id)
SELECT %(shard_value)s, dismissed.run_id, dismissed.child_id, 'child', dismissed.child_id::text, 'cancelled',
       %(end)s::json, now(), dismissed.child_id
FROM unnest(%(run_ids)s::uuid[], %(child_ids)s::uuid[]) AS dismissed (run_id, child_id)
ON CONFLICT DO NOTHING
