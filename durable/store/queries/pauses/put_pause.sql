-- Asking for what is so already keeps the moment and the reason.
INSERT INTO durable.workflow_pauses AS pause (workflow_name, paused, reason)
SELECT %(workflow_name)s, %(paused)s::boolean, %(reason)s
WHERE %(paused)s::boolean
   OR EXISTS (SELECT FROM durable.workflow_pauses AS known WHERE known.workflow_name = %(workflow_name)s)
ON CONFLICT (workflow_name) DO UPDATE
SET paused = excluded.paused, reason = excluded.reason, changed_at = now()
WHERE pause.paused <> excluded.paused
RETURNING workflow_name
