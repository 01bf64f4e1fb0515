SELECT pg_catalog.has_column_privilege('durable.runs', 'error', 'SELECT') AS is_allowed
