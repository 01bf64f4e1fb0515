-- The connection of the lease holds the key as one number; every other connection of the worker shares it as two.
SELECT pg_catalog.pg_terminate_backend(held.pid) AS is_terminated
FROM pg_catalog.pg_locks AS held
WHERE held.locktype = 'advisory' AND held.granted AND held.pid <> pg_catalog.pg_backend_pid()
  AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND ((held.classid::bigint << 32) | held.objid::bigint) = %(key)s::bigint
