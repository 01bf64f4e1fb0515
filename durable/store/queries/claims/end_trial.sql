-- The run has survived its trial and will have company; what happens from now on is no evidence against it.
UPDATE durable.runs AS run
SET isolation = NULL
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s AND run.epoch = %(epoch)s
