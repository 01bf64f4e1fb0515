SELECT workflow_name, reason, (extract(epoch FROM changed_at) * 1e6)::bigint AS paused_at
FROM durable.workflow_pauses
WHERE paused
ORDER BY workflow_name
