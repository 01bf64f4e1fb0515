-- Runs in the transaction of the flush that stores the memos of their parents.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, deadline_at, input, parent_shard, parent_run_id)
SELECT %(shard_value)s, child.run_id, child.workflow_name, child.version,
       now() + make_interval(secs => child.timeout), child.input::json, %(parent_shard)s, child.parent_run_id
FROM unnest(%(run_ids)s::uuid[], %(workflow_names)s::text[], %(versions)s::int[], %(timeouts)s::float8[],
            %(inputs)s::text[], %(parent_run_ids)s::uuid[])
     AS child (run_id, workflow_name, version, timeout, input, parent_run_id)
ON CONFLICT DO NOTHING
