-- Asked first: a statement that is refused would take the caller's transaction with it. A client may not until the
-- script for the roles was run again after version 8.
SELECT pg_catalog.has_column_privilege('durable.workers', 'workflows', 'SELECT')
   AND pg_catalog.has_column_privilege('durable.workers', 'heartbeat_at', 'SELECT')
   AND pg_catalog.has_column_privilege('durable.workers', 'lease', 'SELECT') AS is_allowed
