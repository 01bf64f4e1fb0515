-- A worker that lost the answer asks again.
INSERT INTO durable.workers (worker_id, lock_key, lock_pid, session_key, hostname, process_id, workflows, lease)
VALUES (%(worker_id)s, %(lock_key)s, %(lock_pid)s, %(session_key)s, %(hostname)s, %(process_id)s, %(workflows)s, %(lease)s)
ON CONFLICT (worker_id) DO NOTHING
