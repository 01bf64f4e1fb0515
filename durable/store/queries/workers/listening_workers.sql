-- The workers that can be expected to hear an announcement. One that hangs is left out long before its lease ends.
SELECT worker_id::text, workflows
FROM durable.workers
WHERE is_listening AND heartbeat_at > pg_catalog.now() - make_interval(secs => least(lease, 3))
