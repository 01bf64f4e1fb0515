-- Like record_steps, for answers to requests, which are written with their memos. The first answer to a request is the
-- one that counts.
WITH ours AS MATERIALIZED (
    SELECT answer.run_id, answer.step_key, answer.seq, answer.fn, answer.request_id, answer.reply, answer.refused, answer.at
    FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(step_keys)s::text[], %(seqs)s::int[], %(fns)s::text[],
                %(request_ids)s::uuid[], %(replies)s::text[], %(refusals)s::boolean[], %(ats)s::timestamptz[])
         AS answer (run_id, epoch, step_key, seq, fn, request_id, reply, refused, at)
    JOIN durable.runs AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = answer.run_id AND run.epoch = answer.epoch
      AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
), answered AS (
    UPDATE durable.events AS request
    SET reply = ours.reply::json, refused = ours.refused, replied_at = now()
    FROM ours
    WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = ours.run_id
      AND request.event_id = ours.request_id AND request.run_id = ANY (%(run_ids)s::uuid[])
      AND request.kind = 'request' AND request.reply IS NULL
)
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, completed_at, output)
SELECT %(shard_value)s, ours.run_id, ours.step_key, 'reply', 'completed', ours.seq, ours.fn, now(),
       coalesce(ours.at, now()), 'null'::json
FROM ours
ON CONFLICT (workflow_name_shard, run_id, step_key) DO NOTHING
