//! What a job and a client are judged by, and the deed that each part of it stops.

use crate::fixture::REAPER;

/// What is taken away.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// By a statement.
    Sql(&'static str),
    /// A piece of a function's body, and what stands there instead.
    Piece(&'static str, &'static str, &'static str),
}

use Part::{Piece, Sql};

/// A part that is taken away; what is made ready before, with so many jobs whose beat is so old; what the app does then, in
/// one transaction; and the SQLSTATE of its refusal.
pub(crate) type Case = (&'static str, Part, &'static str, (usize, &'static str), &'static str, &'static str);

const OLD: (usize, &str) = (5, "2 hours");
pub(super) const SILENT: (usize, &str) = (5, "12 minutes");
const THREE: (usize, &str) = (3, "12 minutes");
const FRESH: (usize, &str) = (5, "5 seconds");

const LEAVE: &str = "leave";
const COME: &str = "come";
const STAY: &str = "stay";

const CANCEL: &str = "UPDATE backfill_jobs SET status = 'cancelled'";
const FAIL: &str = "UPDATE backfill_jobs SET status = 'failed', error = 'x'";
const CLAIM: &str = "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())";

/// What a running job is judged by.
pub(crate) const JUDGEMENT: &[Case] = &[
    ("the row of the rules", Sql("DELETE FROM palisade.guard"), "", SILENT, REAPER, "PL301"),
    (
        "ENABLE ALWAYS",
        Sql("ALTER TABLE backfill_jobs ENABLE TRIGGER palisade_rows"),
        "ALTER ROLE app SUPERUSER",
        SILENT,
        "SET session_replication_role = replica; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL301",
    ),
    (
        "the search path of the table's function",
        Sql("ALTER FUNCTION palisade.rows_1() RESET search_path"),
        "CREATE SCHEMA sly; GRANT USAGE ON SCHEMA sly TO PUBLIC; \
         CREATE FUNCTION sly.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'; \
         CREATE OPERATOR sly.= (LEFTARG = text, RIGHTARG = text, FUNCTION = sly.no)",
        SILENT,
        "SET search_path = sly, public, pg_catalog; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL301",
    ),
    ("the form of a reason", Sql("UPDATE palisade.guard SET reason = '.'"), "", THREE, REAPER, "PL301"),
    (
        "the form of a user's mark",
        Sql("UPDATE palisade.guard SET mark = '.'"),
        "",
        THREE,
        "UPDATE backfill_jobs SET status = 'cancelled', cancelled_by = 'cron'",
        "PL301",
    ),
    (
        "the server's start",
        Sql("CREATE OR REPLACE FUNCTION palisade.started() RETURNS timestamptz LANGUAGE sql \
             AS $$ SELECT now() - interval '1 day' $$"),
        "CREATE OR REPLACE FUNCTION palisade.started() RETURNS timestamptz LANGUAGE sql \
         AS $$ SELECT pg_postmaster_start_time() $$",
        OLD,
        CANCEL,
        "PL301",
    ),
    (
        "a claim counts as a beat",
        Piece(COME, "PERFORM palisade.claim(rule, key);", "NULL;"),
        "",
        OLD,
        "UPDATE backfill_jobs SET status = 'completed'; UPDATE backfill_jobs SET status = 'running'; \
         UPDATE backfill_jobs SET status = 'cancelled'",
        "PL302",
    ),
    (
        "a job that is moved is not claimed",
        Piece(
            "claim",
            "CASE WHEN j.moved_by = excluded.claimed_by THEN j.entered_at ELSE excluded.entered_at END",
            "excluded.entered_at",
        ),
        "",
        SILENT,
        "WITH gone AS (DELETE FROM backfill_jobs RETURNING *) INSERT INTO backfill_jobs (id, name, status, heartbeat_at) \
         SELECT id, name, 'running', heartbeat_at FROM gone; UPDATE backfill_jobs SET status = 'failed', error = 'x'",
        "PL301",
    ),
    (
        "a beat from the future says nothing",
        Piece(LEAVE, "CASE WHEN beat <= moment + g.clock_skew THEN beat END", "beat"),
        "",
        (5, "-9 hours"),
        FAIL,
        "PL301",
    ),
    (
        "a worker's own failure changes what only a worker changes",
        Piece("rows_1", "IF ran AND TG_OP = 'UPDATE' THEN\n      mine :=", "IF false THEN\n      mine :="),
        "",
        FRESH,
        "UPDATE backfill_jobs SET status = 'failed'",
        "PL302",
    ),
    (
        "what cannot be read is not judged",
        Piece(LEAVE, "ELSIF NOT readable THEN", "ELSIF false THEN"),
        "UPDATE palisade.guard SET installed_at = now() - interval '1 day'; ALTER TABLE backfill_jobs DROP heartbeat_at",
        SILENT,
        CANCEL,
        "PL307",
    ),
    (
        "the key of a running job",
        Piece(STAY, "IF became_key IS DISTINCT FROM key THEN", "IF false THEN"),
        "",
        SILENT,
        "UPDATE backfill_jobs SET id = gen_random_uuid()",
        "PL306",
    ),
    (
        "a beat in the future",
        Piece(STAY, "IF became_beat > clock_timestamp() + g.clock_skew THEN", "IF false THEN"),
        "",
        SILENT,
        "UPDATE backfill_jobs SET heartbeat_at = now() + interval '9 hours'",
        "PL305",
    ),
    (
        "a beat that is set back",
        Piece(STAY, "IF became_beat >= highest - g.clock_skew THEN", "IF true THEN"),
        "",
        SILENT,
        "UPDATE backfill_jobs SET heartbeat_at = now() - interval '2 hours'",
        "PL304",
    ),
    (
        "the highest beat that was seen",
        Piece(STAY, "PERFORM palisade.remember(rule, key, highest);", "NULL;"),
        "",
        SILENT,
        "DO $$ BEGIN FOR n IN 1..70 LOOP UPDATE backfill_jobs SET heartbeat_at = heartbeat_at - interval '59 s' \
         WHERE name = 'a'; END LOOP; END $$",
        "PL304",
    ),
    (
        "a claim with a beat in the future",
        Piece(COME, "WHEN beat > moment + g.clock_skew THEN 305", ""),
        "",
        SILENT,
        "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now() + interval '9 hours')",
        "PL305",
    ),
    (
        "rows that a policy hides are counted before TRUNCATE",
        Sql(
            "ALTER FUNCTION palisade.empty(integer, oid) RESET row_security; ALTER ROLE palisade_hand NOBYPASSRLS",
        ),
        "ALTER TABLE backfill_jobs ENABLE ROW LEVEL SECURITY",
        SILENT,
        "TRUNCATE backfill_jobs",
        "PL303",
    ),
];

/// Who acts. In a deed `{leader}` is a call of palisade.begin with the term of the lease `reaper`, and so on: see `deed`.
pub(crate) const IDENTITY: &[Case] = &[
    (
        "the environment of the stamp",
        Piece("begin", "IF here.environment <> $2 THEN", "IF false THEN"),
        "INSERT INTO palisade.app (app, environment, generation) VALUES ('atom', 'test', 1)",
        SILENT,
        "{test}",
        "PL010",
    ),
    (
        "the moment of a proof",
        Piece("disproof", "IF abs(old) > 30 THEN", "IF false THEN"),
        "",
        SILENT,
        "{late}",
        "PL014",
    ),
    (
        "the end of a key's grace",
        Piece("disproof", "ELSIF a.previous_until > clock_timestamp() THEN", "ELSE"),
        "UPDATE palisade.app SET generation = 2",
        SILENT,
        "{first}",
        "PL014",
    ),
    ("the term", Piece("begin", " AND l.term = $5", ""), "", SILENT, "{seven}", "PL322"),
    (
        "the end of a lease",
        Piece("begin", " AND l.expires_at > clock_timestamp() FOR KEY", " FOR KEY"),
        "UPDATE palisade.lease SET expires_at = now() - interval '1 s'",
        SILENT,
        "{leader}",
        "PL322",
    ),
    (
        "the lease that a guard names",
        Piece(LEAVE, "coalesce(g.lease = me.lease, me.lease NOT LIKE 'reaper/%')", "true"),
        "UPDATE palisade.guard SET lease = 'mailer'",
        SILENT,
        "{leader}; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL301",
    ),
    (
        "Palisade's own reaper stays behind the rule of age",
        Piece(LEAVE, "me.lease NOT LIKE 'reaper/%'", "true"),
        "UPDATE palisade.lease SET name = 'reaper/backfill_jobs'",
        SILENT,
        "{own}; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL301",
    ),
    (
        "an identity where one is asked for, of who ends a job",
        Piece(LEAVE, "ELSIF g.identity_required AND NOT palisade.satisfies(me) THEN", "ELSIF false THEN"),
        "UPDATE palisade.guard SET identity_required = true",
        OLD,
        CANCEL,
        "PL321",
    ),
    (
        "an identity where one is asked for, of who claims",
        Piece(COME, "WHEN g.identity_required AND (NOT somebody OR NOT palisade.satisfies(me)) THEN 321", ""),
        "UPDATE palisade.guard SET identity_required = true",
        SILENT,
        CLAIM,
        "PL321",
    ),
    (
        "an epoch where builds count",
        Piece("satisfies", "(me.minimum IS NULL OR me.epoch IS NOT NULL)", "true"),
        "UPDATE palisade.guard SET identity_required = true; UPDATE palisade.app SET minimum_epoch = 7",
        SILENT,
        "{known}; INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())",
        "PL321",
    ),
    (
        "the epoch of who ends a job",
        Piece(LEAVE, "ELSIF me.epoch < me.minimum AND NOT", "ELSIF false AND NOT"),
        "UPDATE palisade.app SET minimum_epoch = 7",
        OLD,
        "SET application_name = 'atom@6'; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL323",
    ),
    (
        "a quarantine holds for states of --done too",
        Piece(LEAVE, "IF finished AND (NOT somebody OR me.quarantine IS NULL) THEN", "IF finished THEN"),
        "INSERT INTO palisade.quarantine (app) VALUES ('atom')",
        SILENT,
        "SET application_name = 'atom'; UPDATE backfill_jobs SET status = 'completed'",
        "PL324",
    ),
    (
        "the environment of who claims",
        Piece(COME, "WHEN alien IS NOT NULL THEN 335", ""),
        "",
        SILENT,
        "SET application_name = 'atom-test'; INSERT INTO backfill_jobs (name, status) VALUES ('new', 'running')",
        "PL335",
    ),
    (
        "the trigger that sums quarantines up",
        Sql("UPDATE palisade.watch SET watched = false"),
        "INSERT INTO palisade.quarantine (app) VALUES ('atom')",
        SILENT,
        "SET application_name = 'atom'; UPDATE backfill_jobs SET status = 'completed'",
        "PL324",
    ),
    (
        "the trigger that sums minimum epochs up",
        Sql("UPDATE palisade.watch SET watched = false"),
        "UPDATE palisade.app SET minimum_epoch = 7",
        OLD,
        "SET application_name = 'atom@6'; UPDATE backfill_jobs SET status = 'cancelled'",
        "PL323",
    ),
    (
        "the trigger that sums bindings up",
        Sql("UPDATE palisade.watch SET watched = false"),
        "INSERT INTO palisade.binding (role, environment) VALUES ('app', 'test')",
        SILENT,
        "SET application_name = ''; INSERT INTO backfill_jobs (name, status) VALUES ('new', 'running')",
        "PL335",
    ),
    (
        "the trigger that keeps the stamp's environment",
        Sql("UPDATE palisade.watch SET home = NULL"),
        "",
        SILENT,
        "SET application_name = 'atom-test'; INSERT INTO backfill_jobs (name, status) VALUES ('new', 'running')",
        "PL335",
    ),
];
