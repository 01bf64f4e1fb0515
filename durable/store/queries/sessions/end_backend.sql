SELECT pg_catalog.pg_terminate_backend(%(pid)s) AS is_terminated
