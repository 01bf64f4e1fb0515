-- Runs of one shard value. Runs that exist are left alone: another worker has begun that tick. A timeout of 0 stands
-- for none, and so does an empty text: the caller's session decides whether NULL in an array is read as null
-- (array_nulls).
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, priority, deadline_at, schedule_id,
                          scheduled_at, tags, headers, input)
SELECT %(shard_value)s, item.run_id, %(workflow_name)s, item.version, item.priority,
       now() + make_interval(secs => nullif(item.timeout, 0::float8)), item.schedule_id, item.scheduled_at,
       nullif(item.tags, '')::jsonb, nullif(item.headers, '')::json, item.input::json
FROM unnest(%(run_ids)s::text::uuid[], %(versions)s::text::int[], %(priorities)s::text::int[],
            %(timeouts)s::text::float8[], %(schedule_ids)s::text::text[], %(scheduled_ats)s::text::timestamptz[],
            %(tags)s::text::text[], %(headers)s::text::text[], %(inputs)s::text::text[])
     AS item (run_id, version, priority, timeout, schedule_id, scheduled_at, tags, headers, input)
ON CONFLICT DO NOTHING
