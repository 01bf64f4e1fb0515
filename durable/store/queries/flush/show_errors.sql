-- What a run shows while a step of it waits for its next try; nothing, given as an empty text, once it has an answer.
UPDATE durable.runs AS run
SET error = nullif(shown.error, '')::json
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(shown)s::text[]) AS shown (run_id, epoch, error)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = shown.run_id AND run.epoch = shown.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
