//! Ways around a guard that take intent: its functions behind another table, types of one's own, a stack that is too deep.

use palisade_dbguard::Mode;
use palisade_dbguard::script::Named;
use palisade_testkit::postgres::VERSIONS;

use crate::fixture::{Jobs, named, rules};
use crate::verified::damages;

/// A type whose cast to text does what its maker likes, with the rights of whoever reads a column of it.
const TYPE: &str = "CREATE TYPE SCHEMA.evil AS (x text); \
    CREATE FUNCTION SCHEMA.as_text(e SCHEMA.evil) RETURNS text LANGUAGE plpgsql AS $$ BEGIN \
      RAISE NOTICE 'read as %', current_user; \
      BEGIN UPDATE palisade.guard SET mode = 'observe'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; \
      BEGIN CREATE OR REPLACE FUNCTION palisade.partition_made() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
      EXCEPTION WHEN insufficient_privilege THEN NULL; END; \
      RETURN (e).x; END $$; \
    CREATE CAST (SCHEMA.evil AS text) WITH FUNCTION SCHEMA.as_text(SCHEMA.evil);";

#[test]
fn nobody_puts_a_guards_functions_behind_a_table_of_his_own() {
    for version in VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.install("backfill_jobs", &named(), &rules()).unwrap();
        jobs.server.role("other", "");
        let made = "CREATE TEMP TABLE mine (id int, name text, status pg_temp.evil, heartbeat_at timestamptz, error text, \
             cancelled_by text); CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION palisade.rows_1(); \
             INSERT INTO mine VALUES (1, 'a', ROW('running'), now());";
        let deed = format!("{}{made}", TYPE.replace("SCHEMA", "pg_temp"));
        jobs.server.as_role("other", "jobs", &deed).fails("42501");
        assert_eq!(damages(&jobs), Vec::<String>::new(), "{version}");
        // Without it being kept from them, everybody could, and would act with the guard's rights. Verify says so.
        jobs.admin("GRANT EXECUTE ON FUNCTION palisade.rows_1() TO PUBLIC");
        let said = jobs.server.as_role("other", "jobs", &deed);
        assert!(said.success && said.stderr.contains("read as palisade_hand"), "{}", said.stderr);
        let found = damages(&jobs);
        assert_eq!(
            found,
            ["the function palisade.rows_1 may be put behind a table of anybody's"],
            "{version}"
        );
    }
}

#[test]
fn what_the_tables_owner_makes_of_a_column_runs_as_a_role_that_changes_neither_rule_nor_function() {
    for version in VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(1, "12 minutes");
        jobs.app(&format!(
            "{} ALTER TABLE backfill_jobs ALTER status DROP DEFAULT, ALTER status TYPE evil USING ROW(status::text)::evil",
            TYPE.replace("SCHEMA", "public")
        ))
        .succeeds();
        let said = jobs.app("UPDATE backfill_jobs SET status = ROW('cancelled')::evil");
        assert!(said.stderr.contains("read as palisade_hand"), "{version}: {}", said.stderr);
        assert_eq!(jobs.guards()[0].rules.mode, Mode::Enforce, "{version}");
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(p.proowner), ',') FROM pg_proc p \
            WHERE p.pronamespace = 'palisade'::regnamespace AND p.proname !~ '^(rows|truncate)_'";
        assert_eq!(jobs.admin(owners), "palisade_owner", "{version}");
        let body = "SELECT prosrc ~ 'bare_partitions' FROM pg_proc WHERE proname = 'partition_made'";
        assert_eq!(jobs.admin(body), "t", "{version}");
    }
}

#[test]
fn what_a_foreign_key_does_to_a_running_job_is_judged_like_a_statement() {
    for version in VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.app(
            "CREATE TABLE batch (id int PRIMARY KEY, code text UNIQUE); \
             INSERT INTO batch SELECT n, 'b' || n FROM generate_series(1, 2) n; \
             ALTER TABLE backfill_jobs ADD batch int REFERENCES batch ON DELETE CASCADE, \
             ADD FOREIGN KEY (name) REFERENCES batch (code) ON UPDATE CASCADE",
        )
        .succeeds();
        jobs.app(
            "INSERT INTO backfill_jobs (name, batch, status, heartbeat_at) SELECT code, id, 'running', \
             now() - interval '12 minutes' FROM batch",
        )
        .succeeds();
        let named = Named { key: vec!["name".to_owned()], ..named() };
        jobs.install("backfill_jobs", &named, &rules()).unwrap();
        jobs.up_for_a_day();
        jobs.admin("UPDATE palisade.guard SET installed_at = now() - interval '1 day'");
        jobs.app("DELETE FROM batch WHERE id = 1").fails("PL301");
        jobs.app("UPDATE batch SET code = 'x' WHERE id = 1").fails("PL306");
        jobs.app("TRUNCATE batch CASCADE").fails("PL303");
        jobs.app("UPDATE backfill_jobs SET heartbeat_at = now(), status = 'running'").succeeds();
        jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE batch = 1").succeeds();
        jobs.app("DELETE FROM batch WHERE id = 1").succeeds();
    }
}

/// Does a deed at each depth of the stack, the deepest first, and gives how often it passed.
const DEEP: &str = "CREATE FUNCTION deep(n int, deed text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
      IF n > 0 THEN PERFORM deep(n - 1, deed); ELSE EXECUTE deed; END IF; END $$; \
    CREATE FUNCTION passes(n int, deed text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
      PERFORM deep(n, deed); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false; END $$;";

#[test]
fn nobody_gets_past_a_guard_where_the_stack_is_too_deep_for_it() {
    for version in VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.admin("ALTER ROLE app SET max_stack_depth = '200kB'");
        jobs.app(DEEP).succeeds();
        let at_any_depth = |deed: &str| {
            jobs.running(1, "12 minutes");
            jobs.admin("UPDATE palisade.slot SET taken_at = 'infinity'");
            let deed = deed.replace('\'', "''");
            jobs.app(&format!(
                "SELECT count(*) FILTER (WHERE passes(n, '{deed}')) FROM generate_series(100, 0, -1) n"
            ))
            .succeeds()
        };
        for deed in [
            "UPDATE backfill_jobs SET status = 'cancelled'",
            "UPDATE backfill_jobs SET heartbeat_at = now() - interval '2 hours'",
            "UPDATE backfill_jobs SET id = gen_random_uuid()",
            "DELETE FROM backfill_jobs",
        ] {
            assert_eq!(at_any_depth(deed), "0", "{version}: {deed}");
        }
        assert_ne!(at_any_depth("UPDATE backfill_jobs SET heartbeat_at = now()"), "0");
    }
}
