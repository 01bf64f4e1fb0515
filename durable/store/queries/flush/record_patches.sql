-- Like record_steps, for what ctx.patched decides. It answers if it is called, so it has no place in the order.
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, carried, fn, started_at, output)
SELECT %(shard_value)s, memo.run_id, memo.step_key, 'patched', 'completed', true, '', now(), memo.output::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(outputs)s::text[])
     AS memo (run_id, epoch, step_key, output)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
