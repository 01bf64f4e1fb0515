-- What could not be done for the schedule now will be tried later.
UPDATE durable.schedules
SET due_at = now() + make_interval(secs => %(seconds)s)
WHERE schedule_id = %(schedule_id)s AND due_at <= now()
