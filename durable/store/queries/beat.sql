-- Tells the shard count too, which may be raised while workers live. No row: the others have declared this one dead.
UPDATE durable.workers
SET heartbeat_at = now()
WHERE worker_id = %(worker_id)s
RETURNING (SELECT shard_count FROM durable.settings)
