-- Whether the schema exists at all, and the name of its settings table, from which the name of the schema is read.
SELECT to_regclass('durable.settings') IS NOT NULL AS is_there, 'durable.settings' AS settings_table
