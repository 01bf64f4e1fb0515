UPDATE durable.waits AS wait
SET satisfied_at = coalesce(answer.at, now()), seq = answer.seq, timed_out = answer.timed_out,
    event_id = answer.event_id, payload = answer.payload::json, unfit = answer.unfit
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[], %(seqs)s::int[],
            %(timed_outs)s::boolean[], %(event_ids)s::uuid[], %(payloads)s::text[], %(ats)s::timestamptz[],
            %(unfits)s::boolean[])
     AS answer (run_id, epoch, wait_key, seq, timed_out, event_id, payload, at, unfit)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = answer.run_id AND run.epoch = answer.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = answer.run_id
  AND wait.run_id = ANY (%(run_ids)s::uuid[]) AND wait.wait_key = answer.wait_key
