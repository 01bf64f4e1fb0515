-- Runs of one workflow and one shard value. Runs that exist are left alone, because this is then a second try.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, priority, deadline_at, tags, input)
SELECT %(shard_value)s, item.run_id, %(workflow_name)s, %(version)s, %(priority)s,
       now() + make_interval(secs => %(timeout)s::float8), %(tags)s::jsonb, item.input::json
FROM unnest(%(run_ids)s::text::uuid[], %(inputs)s::text::text[]) AS item (run_id, input)
ON CONFLICT DO NOTHING
