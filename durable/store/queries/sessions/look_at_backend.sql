-- What the server believes about one of its own connections; no row if it has none with that process id.
SELECT state, wait_event = 'ClientRead' AS is_reading, state_change::text AS since
FROM pg_catalog.pg_stat_activity
WHERE pid = %(pid)s
