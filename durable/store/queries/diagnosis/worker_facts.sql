-- All workers that are registered: whether they hold their session locks, and how they stand to one workflow. The runs
-- that they execute of it are counted through the index of owned runs, under the shard values that are given.
SELECT worker.worker_id::text, worker.hostname, worker.process_id, worker.workflows, worker.lease::numeric AS lease,
       extract(epoch FROM pg_catalog.now() - worker.heartbeat_at)::numeric AS silent_for,
       CASE WHEN worker.lock_key IS NOT NULL THEN EXISTS (
            SELECT FROM pg_catalog.pg_locks AS held
            WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
              AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
              AND ((held.classid::bigint << 32) | held.objid::bigint) = worker.lock_key) END AS is_locked,
       pg_catalog.jsonb_extract_path_text(worker.offers, %(workflow_name)s::text, 'version'::text)::int AS version,
       pg_catalog.jsonb_extract_path_text(worker.offers, %(workflow_name)s::text, 'concurrency'::text)::int AS concurrency,
       (SELECT count(*) FROM durable.run_overview AS run
        WHERE run.workflow_name_shard = ANY (%(shard_values)s::text[]) AND run.status = 'running'
          AND run.worker_id = worker.worker_id)::int AS running
FROM durable.workers AS worker
ORDER BY worker.started_at, worker.worker_id
LIMIT %(limit)s
