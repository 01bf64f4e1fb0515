-- Whether there is a schema of ours at all.
SELECT to_regclass('durable.settings') IS NOT NULL
