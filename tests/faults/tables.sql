-- What the harness keeps beside the engine's tables. The workload writes accounts, ledger and journal; the triggers keep
-- an exact history of who wrote what: the writer is known by the application name of its connection, worker-<process id>.

CREATE TABLE accounts (
    account integer PRIMARY KEY,
    balance bigint  NOT NULL
);
INSERT INTO accounts SELECT account, 1000 FROM generate_series(0, 31) AS account;

-- In the transaction steps. Nothing here refuses a second entry: the oracle is to find it.
CREATE TABLE ledger (
    id                  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow_name_shard text    NOT NULL,
    run_id              uuid    NOT NULL,
    entry               text    NOT NULL,
    account             integer NOT NULL,
    amount              bigint  NOT NULL
);
CREATE INDEX ON ledger (run_id);

-- In the transaction of an application that begins a run.
CREATE TABLE orders (
    number bigint PRIMARY KEY
);

-- What has been mended, so that a retried run can succeed.
CREATE TABLE remedies (
    number bigint PRIMARY KEY
);

-- Append-only, on connections of its own that no fault touches.
CREATE TABLE journal (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     uuid        NOT NULL,
    step_key   text        NOT NULL,
    what       text        NOT NULL,
    value      text,
    process_id integer     NOT NULL,
    clock      timestamptz, -- that of the process
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON journal (run_id, step_key);

-- Written before a fault is injected from within a worker.
CREATE TABLE evidence (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL,
    process_id integer     NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE identities (
    worker_id  uuid        PRIMARY KEY,
    process_id integer     NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every change of a run's status, owner, epoch or result. Ids of one run are in its order: all is done under its lock.
CREATE TABLE transitions (
    id           bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id       uuid    NOT NULL,
    xid          xid     NOT NULL DEFAULT pg_current_xact_id()::xid,
    writer       integer,
    old_status   text    NOT NULL,
    new_status   text    NOT NULL,
    old_worker   uuid,
    new_worker   uuid,
    old_epoch    bigint  NOT NULL,
    new_epoch    bigint  NOT NULL,
    is_rewritten boolean NOT NULL
);
CREATE INDEX ON transitions (run_id, id);

-- Every write of a memo or of the ledger, and the epoch in which the run was then.
CREATE TABLE writes (
    id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id   uuid    NOT NULL,
    relation text    NOT NULL,
    key      text    NOT NULL,
    is_new   boolean NOT NULL,
    xid      xid     NOT NULL DEFAULT pg_current_xact_id()::xid,
    writer   integer,
    epoch    bigint
);
CREATE INDEX ON writes (run_id, key);

CREATE FUNCTION writer() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT substring(current_setting('application_name') FROM '^worker-([0-9]+)')::integer
$$;

CREATE FUNCTION note_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.identities (worker_id, process_id) VALUES (NEW.worker_id, NEW.process_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER identity AFTER INSERT ON durable.workers FOR EACH ROW EXECUTE FUNCTION note_identity();

CREATE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.transitions
        (run_id, writer, old_status, new_status, old_worker, new_worker, old_epoch, new_epoch, is_rewritten)
    VALUES (NEW.run_id, public.writer(), OLD.status, NEW.status, OLD.worker_id, NEW.worker_id, OLD.epoch, NEW.epoch,
            OLD.completed_at IS NOT NULL AND NEW.completed_at IS NOT NULL);
    RETURN NULL;
END $$;
CREATE TRIGGER transition AFTER UPDATE ON durable.runs FOR EACH ROW
    WHEN ((OLD.status, OLD.worker_id, OLD.epoch, OLD.output::text, OLD.completed_at)
          IS DISTINCT FROM (NEW.status, NEW.worker_id, NEW.epoch, NEW.output::text, NEW.completed_at))
    EXECUTE FUNCTION note_transition();

CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    -- Not through JSON: there are faults that put into a row what cannot be turned into text.
    IF TG_TABLE_NAME = 'steps' THEN
        key := NEW.step_key;
    ELSIF TG_TABLE_NAME = 'waits' THEN
        key := NEW.wait_key;
    ELSE
        key := NEW.entry;
    END IF;
    INSERT INTO public.writes (run_id, relation, key, is_new, writer, epoch)
    VALUES (NEW.run_id, TG_TABLE_NAME, key, TG_OP = 'INSERT', public.writer(),
            (SELECT epoch FROM durable.runs AS run
             WHERE run.workflow_name_shard = NEW.workflow_name_shard AND run.run_id = NEW.run_id));
    RETURN NULL;
END $$;
CREATE TRIGGER written AFTER INSERT OR UPDATE ON durable.steps FOR EACH ROW EXECUTE FUNCTION note_write();
CREATE TRIGGER written AFTER INSERT OR UPDATE ON durable.waits FOR EACH ROW EXECUTE FUNCTION note_write();
CREATE TRIGGER written AFTER INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION note_write();

-- Answers that were recorded, and then recorded otherwise. One that is written once more, as it was, is none.
CREATE TABLE rewrites (
    id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id   uuid    NOT NULL,
    key      text    NOT NULL,
    writer   integer
);

CREATE FUNCTION note_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    IF TG_TABLE_NAME = 'steps' THEN
        key := NEW.step_key;
    ELSE
        key := NEW.wait_key;
    END IF;
    INSERT INTO public.rewrites (run_id, key, writer) VALUES (NEW.run_id, key, public.writer());
    RETURN NULL;
END $$;
CREATE TRIGGER rewritten AFTER UPDATE ON durable.steps FOR EACH ROW
    WHEN (public.writer() IS NOT NULL AND OLD.seq IS NOT NULL
          AND (OLD.seq, OLD.output::text, OLD.error::text) IS DISTINCT FROM (NEW.seq, NEW.output::text, NEW.error::text))
    EXECUTE FUNCTION note_rewrite();
CREATE TRIGGER rewritten AFTER UPDATE ON durable.waits FOR EACH ROW
    WHEN (public.writer() IS NOT NULL AND OLD.seq IS NOT NULL
          AND (OLD.seq, OLD.timed_out, OLD.event_id, OLD.payload::text)
              IS DISTINCT FROM (NEW.seq, NEW.timed_out, NEW.event_id, NEW.payload::text))
    EXECUTE FUNCTION note_rewrite();
