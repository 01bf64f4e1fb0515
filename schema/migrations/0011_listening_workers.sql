-- Why: of the workers that listen, one comes first for each announcement, so each must know which the others are.
-- Locks: a short one on workers. Workers of version 6 do not fill the column; they look for everything that they hear.

ALTER TABLE durable.workers
    ADD COLUMN is_listening boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN durable.workers.is_listening IS
    'Whether it hears announcements and looks for what they announce.';
