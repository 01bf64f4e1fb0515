UPDATE durable.schedules
SET paused = true, updated_at = now()
WHERE schedule_id = %(schedule_id)s
RETURNING schedule_id
