-- Whether a worker that has this workflow has lately shown a sign of life. A long lease does not make it live longer:
-- a living worker writes once a second.
SELECT EXISTS (
    SELECT FROM durable.workers
    WHERE %(workflow_name)s = ANY (workflows)
      AND heartbeat_at >= pg_catalog.now() - make_interval(secs => least(lease, 15::float8))) AS is_served
