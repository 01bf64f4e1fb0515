-- Runs of one shard value. Runs that exist are left alone: another worker has begun that tick.
INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, version, deadline_at, schedule_id, scheduled_at, input)
SELECT %(shard_value)s, item.run_id, %(workflow_name)s, item.version, now() + make_interval(secs => item.timeout),
       item.schedule_id, item.scheduled_at, item.input::json
FROM unnest(%(run_ids)s::text::uuid[], %(versions)s::text::int[], %(timeouts)s::text::float8[], %(schedule_ids)s::text::text[],
            %(scheduled_ats)s::text::timestamptz[], %(inputs)s::text::text[])
     AS item (run_id, version, timeout, schedule_id, scheduled_at, input)
ON CONFLICT DO NOTHING
