-- Of children that are asked to cancel, for the retry of their parent: it begins them anew, unless they complete all the
-- same and say so. Nobody waits for them meanwhile.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, child_status, payload, routed_at)
SELECT %(shard_value)s, dismissed.run_id, dismissed.child_id, 'child', dismissed.child_id::text, 'cancelled',
       %(end)s::json, now()
FROM unnest(%(run_ids)s::uuid[], %(child_ids)s::uuid[]) AS dismissed (run_id, child_id)
ON CONFLICT DO NOTHING
