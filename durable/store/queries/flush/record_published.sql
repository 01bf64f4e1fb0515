-- Like record_steps, for events that are sent to other runs. What is returned is new: only those events are sent, in the
-- same transaction, so that a flush that is repeated sends nothing again, whatever has become of the other run.
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, completed_at, output)
SELECT %(shard_value)s, memo.run_id, memo.step_key, 'publish', 'completed', memo.seq, memo.fn, now(),
       coalesce(memo.at, now()), memo.output::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(seqs)s::int[], %(fns)s::text[],
            %(outputs)s::text[], %(ats)s::timestamptz[])
     AS memo (run_id, epoch, step_key, seq, fn, output, at)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
RETURNING output #>> '{}'::text[] AS event_id
