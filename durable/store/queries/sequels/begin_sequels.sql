-- Runs in the transaction that ends the runs whose sequels they are. timeout is in seconds.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, deadline_at, tags, headers, input)
SELECT %(shard_value)s, sequel.run_id, sequel.workflow_name, sequel.version,
       now() + make_interval(secs => sequel.timeout), sequel.tags::jsonb, sequel.headers::json, sequel.input::json
FROM unnest(%(run_ids)s::uuid[], %(workflow_names)s::text[], %(versions)s::int[], %(timeouts)s::float8[],
            %(tags)s::text[], %(headers)s::text[], %(inputs)s::text[])
     AS sequel (run_id, workflow_name, version, timeout, tags, headers, input)
ON CONFLICT DO NOTHING
