-- Either the run is locked by this transaction, whether it stays ours or was settled by it (and so no longer has an
-- owner), or it is not ours, according to its epoch or its owner, and nothing is stored.
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, seq, fn, attempts, started_at, completed_at,
     input, output, error)
SELECT %(shard_value)s, memo.run_id, memo.step_key, memo.kind,
       CASE WHEN memo.error IS NULL THEN 'completed' ELSE 'failed' END,
       memo.seq, memo.fn, memo.attempts, now() - make_interval(secs => memo.took),
       coalesce(memo.at, now()),
       memo.input::json, memo.output::json, memo.error::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(kinds)s::text[], %(seqs)s::int[],
            %(fns)s::text[], %(attempts)s::int[], %(tooks)s::float8[], %(inputs)s::text[], %(outputs)s::text[],
            %(errors)s::text[], %(ats)s::timestamptz[])
     AS memo (run_id, epoch, step_key, kind, seq, fn, attempts, took, input, output, error, at)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = memo.run_id AND run.epoch = memo.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
