-- Runs in the transaction that ends the children. A child that was retried may end again: until the parent takes the
-- end, the last one counts.
INSERT INTO durable.events AS event (workflow_name_shard, run_id, event_id, kind, name, child_status, payload)
SELECT %(shard_value)s, parent.run_id, ended.child_id, 'child', ended.child_id::text, ended.status,
       ended.payload::json
FROM unnest(%(run_ids)s::uuid[], %(child_ids)s::uuid[], %(statuses)s::text[], %(payloads)s::text[])
     AS ended (run_id, child_id, status, payload)
JOIN durable.runs AS parent ON parent.workflow_name_shard = %(shard_value)s AND parent.run_id = ended.run_id
 AND parent.run_id = ANY (%(run_ids)s::uuid[])
ORDER BY parent.run_id, ended.child_id
ON CONFLICT (workflow_name_shard, run_id, event_id) DO UPDATE
SET child_status = excluded.child_status, payload = excluded.payload
WHERE event.consumed_by IS NULL
