-- A worker that lost the answer asks again.
INSERT INTO durable.workers (worker_id, lock_key, login, session_key, hostname, process_id, workflows, lease, offers)
SELECT %(worker_id)s, %(lock_key)s::bigint, oid, %(session_key)s::bigint, %(hostname)s, %(process_id)s, %(workflows)s::text[],
       %(lease)s, %(offers)s::jsonb
FROM pg_catalog.pg_roles
WHERE rolname = session_user
ON CONFLICT (worker_id) DO NOTHING
