-- Like record_steps, for children that begin. Their own rows are inserted by begin_children in the same transaction.
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, completed_at, output, child_shard, child_run_id)
SELECT %(shard_value)s, memo.run_id, memo.step_key, 'child', 'completed', memo.seq, memo.fn, now(),
       coalesce(memo.at, now()), memo.output::json,
       memo.child_shard, memo.child_run_id
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(seqs)s::int[], %(fns)s::text[],
            %(outputs)s::text[], %(child_shards)s::text[], %(child_run_ids)s::uuid[], %(ats)s::timestamptz[])
     AS memo (run_id, epoch, step_key, seq, fn, output, child_shard, child_run_id, at)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
