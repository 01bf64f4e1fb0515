-- Seconds until the next schedule of these workflows is due; null if there is none.
SELECT extract(epoch FROM min(due_at) - now())::numeric AS due_in
FROM durable.schedules
WHERE NOT paused AND problem IS NULL AND workflow_name = ANY(%(workflows)s::text[])
