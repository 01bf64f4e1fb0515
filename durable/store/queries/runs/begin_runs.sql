-- Runs of one workflow and one shard value. Runs that exist are left alone, because this is then a second try, or because
-- their keys were used before. delays and timeouts are in seconds. A shorter array is continued with nulls, and an empty
-- text in one stands for null: the caller's session decides whether NULL in an array is read as null (array_nulls).
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at,
                          key, tags, headers, input)
SELECT %(shard_value)s, item.run_id, %(workflow_name)s, %(version)s,
       CASE WHEN item.wake_at IS NULL THEN 'queued' ELSE 'sleeping' END, coalesce(item.priority, 0), item.wake_at,
       coalesce(item.wake_at, now()) + make_interval(secs => nullif(item.timeout, '')::float8),
       nullif(item.key, ''), nullif(item.tags, '')::jsonb, nullif(item.headers, '')::json, item.input::json
FROM (
    SELECT given.*, coalesce(nullif(given.at, '')::timestamptz,
                             now() + make_interval(secs => nullif(given.delay, '')::float8)) AS wake_at
    FROM unnest(%(run_ids)s::text::uuid[], %(inputs)s::text::text[], %(priorities)s::text::int[],
                %(delays)s::text::text[], %(ats)s::text::text[], %(timeouts)s::text::text[], %(keys)s::text::text[],
                %(tags)s::text::text[], %(headers)s::text::text[])
         AS given (run_id, input, priority, delay, at, timeout, key, tags, headers)
) AS item
ON CONFLICT DO NOTHING
