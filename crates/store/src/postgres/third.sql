-- What a claim was stays with its row until the attempt ends. Most end well: their claim and their end then stand in the
-- last row of the job, and no event is written for either.
ALTER TABLE palisade_jobs.job_run ADD COLUMN claimed_ms bigint, ADD COLUMN claim_event bigint;
ALTER TABLE palisade_jobs.job_end ADD COLUMN claimed_ms bigint, ADD COLUMN claim_event bigint,
    ADD COLUMN incarnation text, ADD COLUMN reap_after_ms bigint;
-- A beat looks for what was asked to end, however much its worker runs.
CREATE INDEX job_run_asked ON palisade_jobs.job_run (incarnation) WHERE cancel;
CREATE FUNCTION palisade_jobs.claim_said(attempt smallint, worker text, reap_after_ms bigint) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN '{"kind":"claimed","attempt":' || attempt || ',"worker":' || to_json(worker) || ',"reap_after_ms":'
        || reap_after_ms || '}';
