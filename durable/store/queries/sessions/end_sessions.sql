-- Every session of a worker shares the key as two numbers; before version 8, its lease held the same key as one number.
-- Sessions of others that hold the key, which anyone may do, are left alone: one that may not be ended would fail this
-- statement.
SELECT pg_catalog.pg_terminate_backend(held.pid) AS is_terminated
FROM pg_catalog.pg_locks AS held
JOIN pg_catalog.pg_stat_activity AS session ON session.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.pid <> pg_catalog.pg_backend_pid()
  AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND ((held.classid::bigint << 32) | held.objid::bigint) = %(key)s::bigint
  AND (pg_catalog.pg_has_role(session.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))
