-- Uses the real clock, which a test kit that skips time leaves alone: a skip must not make workers look dead.
-- Records a sign of life and the lock that is held now, and returns the other workers whose lock is gone or whose
-- heartbeat is older than their lease. Also returns the shard count, which may be raised while workers are alive, and the
-- workflows that are paused. There
-- is always at least one row; if is_known is false in it, this worker was declared dead.
WITH alive AS (
    UPDATE durable.workers
    SET heartbeat_at = pg_catalog.now(), lock_key = %(lock_key)s::bigint, is_listening = %(is_listening)s,
        login = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)
    WHERE worker_id = %(worker_id)s
    RETURNING worker_id
)
SELECT EXISTS (SELECT FROM alive) AS is_known, settings.shard_count, suspect.worker_id::text AS suspect_id,
       suspect.workflows, coalesce(suspect.session_key, suspect.lock_key) AS session_key,
       suspect.heartbeat_at < pg_catalog.now() - make_interval(secs => suspect.lease) AS is_stale,
       ARRAY(SELECT pause.workflow_name FROM durable.workflow_pauses AS pause WHERE pause.paused) AS paused
FROM durable.settings AS settings
LEFT JOIN durable.workers AS suspect
  ON suspect.worker_id <> %(worker_id)s
  AND (suspect.heartbeat_at < pg_catalog.now() - make_interval(secs => suspect.lease)
       OR suspect.lock_key IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_locks AS held
            WHERE held.locktype = 'advisory' AND held.granted
              AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
              AND held.objsubid = 1
              AND ((held.classid::bigint << 32) | held.objid::bigint) = suspect.lock_key
              -- Any login can take the lock of a dead worker. The worker's own login is unknown before version 8.
              AND (suspect.login IS NULL OR EXISTS (
                   SELECT FROM pg_catalog.pg_stat_get_activity(held.pid) AS session
                   WHERE session.usesysid = suspect.login))))
