-- From a view that shows no payloads, so that a role that may see none can ask why a run is not moving. Moments that no
-- client could read are shown as the nearest that it can.
SELECT run.workflow_name, run.version, run.status, run.attempts, run.takeovers, run.set_asides, run.isolation,
       run.worker_id::text,
       (extract(epoch FROM CASE WHEN run.next_wake_at IS NOT NULL
                            THEN least(greatest(run.next_wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS next_wake_at,
       (extract(epoch FROM least(greatest(run.created_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS created_at,
       (extract(epoch FROM least(greatest(run.updated_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS updated_at,
       (extract(epoch FROM CASE WHEN run.completed_at IS NOT NULL
                            THEN least(greatest(run.completed_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS completed_at,
       (extract(epoch FROM CASE WHEN run.deadline_at IS NOT NULL
                            THEN least(greatest(run.deadline_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS deadline_at,
       run.follows::text, (extract(epoch FROM now()) * 1e6)::bigint AS now,
       (SELECT (extract(epoch FROM pause.changed_at) * 1e6)::bigint
        FROM durable.workflow_pauses AS pause
        WHERE pause.paused AND pause.workflow_name = run.workflow_name) AS paused_at,
       pg_catalog.pg_is_in_recovery() AS is_standby, settings.schema_version
FROM durable.run_overview AS run
CROSS JOIN durable.settings AS settings
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
