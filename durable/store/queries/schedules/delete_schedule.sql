DELETE FROM durable.schedules
WHERE schedule_id = %(schedule_id)s
RETURNING schedule_id
