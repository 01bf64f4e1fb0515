-- The next tick is computed from scratch: what was missed during the pause is not made up for.
UPDATE durable.schedules
SET paused = false, updated_at = now(),
    next_tick_at = CASE WHEN paused THEN NULL ELSE next_tick_at END,
    due_at = CASE WHEN paused THEN now() ELSE due_at END
WHERE schedule_id = %(schedule_id)s
RETURNING schedule_id
