-- Other workers whose lock is gone, or whose heartbeat is older than their lease.
SELECT worker.worker_id, worker.workflows,
       worker.heartbeat_at < now() - make_interval(secs => worker.lease) AS is_stale
FROM durable.workers AS worker
WHERE worker.worker_id <> %(worker_id)s
  AND (worker.heartbeat_at < now() - make_interval(secs => worker.lease)
       OR worker.lock_key IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_locks AS held
            WHERE held.locktype = 'advisory' AND held.granted
              AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
              AND held.objsubid = 1
              AND ((held.classid::bigint << 32) | held.objid::bigint) = worker.lock_key))
