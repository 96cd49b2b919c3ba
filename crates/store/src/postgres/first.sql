-- Times are milliseconds since 1970 by this server's clock.
CREATE FUNCTION palisade_jobs.now_ms() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

CREATE SEQUENCE palisade_jobs.job_id;
CREATE SEQUENCE palisade_jobs.token;
CREATE SEQUENCE palisade_jobs.event_number;

-- Written once.
CREATE TABLE palisade_jobs.job (
    id bigint PRIMARY KEY DEFAULT nextval('palisade_jobs.job_id'),
    queue text NOT NULL,
    payload text NOT NULL,
    priority smallint NOT NULL,
    enqueued_ms bigint NOT NULL,
    run_ms bigint NOT NULL,
    max_attempts smallint NOT NULL,
    unique_key text,
    asked_reap_after_ms bigint,
    by text NOT NULL
);
-- Where a job stands is which of the four has it. Rows of the first two and the last are put in and taken out, never
-- changed; what changes is in the narrow row of a running job, and no index has those columns.
CREATE TABLE palisade_jobs.job_ready (
    queue text NOT NULL, priority smallint NOT NULL, job bigint NOT NULL, attempts smallint NOT NULL,
    PRIMARY KEY (queue, priority, job)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE palisade_jobs.job_wait (
    job bigint PRIMARY KEY, queue text NOT NULL, priority smallint NOT NULL, attempts smallint NOT NULL,
    state text NOT NULL, run_ms bigint NOT NULL, reason text
);
CREATE INDEX job_wait_due ON palisade_jobs.job_wait (run_ms) WHERE state <> 'held';
CREATE TABLE palisade_jobs.job_run (
    job bigint PRIMARY KEY, queue text NOT NULL, priority smallint NOT NULL, attempts smallint NOT NULL,
    token bigint NOT NULL, incarnation text NOT NULL, worker text NOT NULL, keyed boolean NOT NULL,
    limited boolean NOT NULL, beat_every_ms bigint NOT NULL, reap_after_ms bigint NOT NULL,
    self_fence_ms bigint NOT NULL, cancel boolean NOT NULL DEFAULT false, reason text, progress bigint, trouble text
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_run_holder ON palisade_jobs.job_run (incarnation);
CREATE INDEX job_run_limited ON palisade_jobs.job_run (queue) WHERE limited;
CREATE TABLE palisade_jobs.job_end (
    job bigint PRIMARY KEY, queue text NOT NULL, priority smallint NOT NULL, attempts smallint NOT NULL,
    state text NOT NULL, ended_ms bigint NOT NULL, token bigint, event bigint NOT NULL, progress bigint, reason text
);
CREATE INDEX job_end_old ON palisade_jobs.job_end (queue, ended_ms);

CREATE TABLE palisade_jobs.live_key (
    queue text NOT NULL, key text NOT NULL, job bigint NOT NULL, PRIMARY KEY (queue, key)
);
CREATE INDEX live_key_job ON palisade_jobs.live_key (job);
CREATE TABLE palisade_jobs.idempotency (
    queue text NOT NULL, key text NOT NULL, job bigint NOT NULL, PRIMARY KEY (queue, key)
);
CREATE TABLE palisade_jobs.checkpoint (
    job bigint NOT NULL, sequence bigint NOT NULL, key text NOT NULL, sha256 text NOT NULL, bytes bigint NOT NULL,
    PRIMARY KEY (job, sequence)
);
CREATE TABLE palisade_jobs.event (
    number bigint NOT NULL DEFAULT nextval('palisade_jobs.event_number'), job bigint NOT NULL, at_ms bigint NOT NULL,
    token bigint, incarnation text, kind text NOT NULL, by text
) PARTITION BY RANGE (at_ms);
CREATE INDEX event_job ON palisade_jobs.event (job);
CREATE TABLE palisade_jobs.event_rest PARTITION OF palisade_jobs.event DEFAULT;

CREATE TABLE palisade_jobs.worker (
    incarnation text PRIMARY KEY, worker text NOT NULL, registered_ms bigint NOT NULL
);
CREATE TABLE palisade_jobs.worker_beat (
    incarnation text PRIMARY KEY, beat bigint NOT NULL DEFAULT 0, beat_ms bigint,
    suspect boolean NOT NULL DEFAULT false, gone boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE palisade_jobs.taken (
    incarnation text NOT NULL, token bigint NOT NULL, job bigint NOT NULL, PRIMARY KEY (incarnation, token)
);
CREATE TABLE palisade_jobs.queue (
    name text PRIMARY KEY, revision bigint NOT NULL DEFAULT 1, paused boolean NOT NULL DEFAULT false,
    concurrency bigint, beat_every_ms bigint NOT NULL, reap_after_ms bigint NOT NULL, self_fence_ms bigint NOT NULL,
    handover_delay_ms bigint NOT NULL, on_silence text NOT NULL, progress_deadline_ms bigint,
    backoff_first_ms bigint NOT NULL, backoff_most_ms bigint NOT NULL, retention_ms bigint NOT NULL
);
CREATE TABLE palisade_jobs.schedule (name text PRIMARY KEY, next_ms bigint, body text NOT NULL);
CREATE TABLE palisade_jobs.lease (
    name text PRIMARY KEY, term bigint NOT NULL, holder text NOT NULL, acquired_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL, renewals bigint NOT NULL DEFAULT 0, UNIQUE (name, term)
);

-- One job with a key: the job that bears the key already, or a new one.
CREATE FUNCTION palisade_jobs.enqueue_keyed(
    queue_ text, payload_ text, priority_ smallint, start_ms bigint, wait_ms bigint, attempts_ smallint,
    unique_ text, idempotency_ text, reap_ms bigint, by_ text, OUT id bigint, OUT new boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_ bigint := palisade_jobs.now_ms();
    run_ bigint := coalesce(start_ms, now_ + wait_ms);
BEGIN
    LOOP
        new := false;
        SELECT k.job INTO id FROM palisade_jobs.idempotency k WHERE k.queue = queue_ AND k.key = idempotency_;
        IF FOUND THEN RETURN; END IF;
        SELECT k.job INTO id FROM palisade_jobs.live_key k WHERE k.queue = queue_ AND k.key = unique_;
        IF FOUND THEN RETURN; END IF;
        id := nextval('palisade_jobs.job_id');
        IF idempotency_ IS NOT NULL THEN
            -- Waits for another that makes the same key now, and then finds it at the next turn.
            INSERT INTO palisade_jobs.idempotency VALUES (queue_, idempotency_, id) ON CONFLICT DO NOTHING;
            CONTINUE WHEN NOT FOUND;
        END IF;
        IF unique_ IS NOT NULL THEN
            INSERT INTO palisade_jobs.live_key VALUES (queue_, unique_, id) ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                DELETE FROM palisade_jobs.idempotency k
                    WHERE k.queue = queue_ AND k.key = idempotency_ AND k.job = enqueue_keyed.id;
                CONTINUE;
            END IF;
        END IF;
        EXIT;
    END LOOP;
    new := true;
    INSERT INTO palisade_jobs.job VALUES
        (id, queue_, payload_, priority_, now_, run_, attempts_, unique_, reap_ms, by_);
    IF run_ > now_ THEN
        INSERT INTO palisade_jobs.job_wait VALUES (id, queue_, priority_, 0, 'scheduled', run_);
    ELSE
        INSERT INTO palisade_jobs.job_ready VALUES (queue_, priority_, id, 0);
    END IF;
END $$;
