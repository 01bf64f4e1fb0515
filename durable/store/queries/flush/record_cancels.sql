-- Like record_steps, for cancels. A run is cancelled once, under the empty key, which no call can have.
INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, seq, started_at, completed_at, output,
                           cancel_cause)
SELECT %(shard_value)s, memo.run_id, '', 'cancel', 'completed', memo.seq, now(), coalesce(memo.at, now()),
       memo.reason::json, memo.cause
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(seqs)s::int[], %(causes)s::text[], %(reasons)s::text[],
            %(ats)s::timestamptz[])
     AS memo (run_id, epoch, seq, cause, reason, at)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
