-- Transactions commit their memo before the run sees it; this adds its place in the order.
UPDATE durable.steps AS step
SET seq = memo.seq, completed_at = coalesce(memo.at, step.completed_at)
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(seqs)s::int[],
            %(ats)s::timestamptz[])
     AS memo (run_id, epoch, step_key, seq, at)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = memo.run_id
  AND step.run_id = ANY (%(run_ids)s::uuid[]) AND step.step_key = memo.step_key
