-- The first statement of a session: makes settings, those that this server knows, and shares the lock that marks the
-- session. It does neither if the process id is not the one that the connection was told: a pooler is in between then,
-- and the session will be another client's. Never waits, because any login can hold the lock or queue for it.
SELECT pg_catalog.pg_backend_pid() AS process_id,
       (SELECT pg_catalog.count(pg_catalog.set_config(wanted.name, wanted.value, false))
        FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted (name, value)
        WHERE pg_catalog.pg_backend_pid() = %(process_id)s::int
          AND pg_catalog.current_setting(wanted.name, true) IS NOT NULL) AS settings_made,
       CASE WHEN pg_catalog.pg_backend_pid() = %(process_id)s::int
            THEN pg_catalog.pg_try_advisory_lock_shared(%(high)s::int, %(low)s::int) ELSE false END AS is_marked,
       EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') AS is_distributed
