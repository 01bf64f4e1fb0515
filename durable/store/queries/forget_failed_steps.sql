-- A retry of the run: failed memos and a cancel go, and what was recorded after the first of them answers but need not be called.
WITH ours AS (
    SELECT memo.run_id, min(memo.seq) AS first_failed
    FROM durable.steps AS memo
    JOIN unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS mine (run_id, epoch) ON mine.run_id = memo.run_id
    JOIN durable.runs AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = mine.run_id AND run.epoch = mine.epoch
    WHERE memo.workflow_name_shard = %(shard_value)s AND (memo.status = 'failed' OR memo.kind = 'cancel')
      AND NOT memo.carried
    GROUP BY memo.run_id
), forgotten AS (
    DELETE FROM durable.steps AS step
    USING ours
    WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = ours.run_id
      AND (step.status = 'failed' OR step.kind = 'cancel')
), waits AS (
    UPDATE durable.waits AS wait
    SET carried = true, seq = NULL
    FROM ours
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = ours.run_id
      AND wait.seq > ours.first_failed
)
UPDATE durable.steps AS step
SET carried = true, seq = NULL
FROM ours
WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = ours.run_id AND step.status = 'completed'
  AND step.kind <> 'cancel' AND (step.seq > ours.first_failed OR step.seq IS NULL)
