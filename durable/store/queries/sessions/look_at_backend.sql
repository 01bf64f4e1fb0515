-- What the server believes of one of its own connections; no row: it has none of that number.
SELECT state, wait_event = 'ClientRead' AS is_reading, state_change::text AS since
FROM pg_catalog.pg_stat_activity
WHERE pid = %(pid)s
