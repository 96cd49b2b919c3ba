CREATE TABLE IF NOT EXISTS palisade_audit.login (
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  app text NOT NULL,
  role text NOT NULL,
  address inet,
  backend integer NOT NULL
);
-- The rule that the login breaks, if it breaks one.
ALTER TABLE palisade_audit.login ADD COLUMN IF NOT EXISTS code integer;
CREATE INDEX IF NOT EXISTS login_who ON palisade_audit.login (app, role, at);

-- Why a client may not log in, by the rules of the guards: shut out, too old a build, or of another environment. It is only
-- asked where the guards belong to the role that owns this, and not on a copy. Whoever could take the guard away is never asked.
CREATE OR REPLACE FUNCTION palisade_audit.objection(OUT code integer, OUT said text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $palisade$
DECLARE
  me palisade.identity;
BEGIN
  IF pg_has_role(session_user, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'palisade'), 'MEMBER')
    OR palisade.flaw() = 'copy' THEN
    RETURN;
  END IF;
  me := palisade.me();
  said := CASE WHEN me.quarantine IS NOT NULL THEN palisade.barred(324, me)
    WHEN me.epoch < me.minimum THEN palisade.barred(323, me)
    ELSE palisade.foreign_by(me) END;
  code := CASE WHEN me.quarantine IS NOT NULL THEN 324 WHEN me.epoch < me.minimum THEN 323 WHEN said IS NOT NULL THEN 335 END;
END $palisade$;

-- Nobody is kept out by its own trouble: it catches its errors, waits for no lock, and writes nothing on a standby. Equal
-- logins within a minute are one row, so that an app that connects for each request does not fill the table.
CREATE OR REPLACE FUNCTION palisade_audit.logged_in() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $palisade$
DECLARE
  name text := coalesce(current_setting('application_name', true), '');
  broken integer;
  why text;
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'palisade' AND n.nspowner = current_user::regrole) THEN
    BEGIN
      SELECT o.code, o.said INTO broken, why FROM palisade_audit.objection() o;
    EXCEPTION WHEN OTHERS THEN
      broken := NULL;
      RAISE LOG 'palisade: the login trigger cannot judge, and lets in: % (%)', SQLERRM, SQLSTATE;
    END;
  END IF;
  IF broken IS NOT NULL THEN
    RAISE LOG 'palisade: PAL-% {word}: a login as role %, application_name %, from %: %', broken, session_user,
      quote_literal(name), coalesce(host(inet_client_addr()), 'a local socket'), why;
    IF {enforce} THEN
      BEGIN
        PERFORM nextval('palisade.refused');
      EXCEPTION WHEN OTHERS THEN
        NULL;
      END;
      RAISE EXCEPTION USING ERRCODE = 'PL' || broken, MESSAGE = 'Palisade: this login is refused: ' || why,
        HINT = format('What it means and how to go on: palisade explain PAL-%s', broken);
    END IF;
  END IF;
  BEGIN
    IF EXISTS (SELECT FROM palisade_audit.login l WHERE l.app = name AND l.role = session_user
      AND l.address IS NOT DISTINCT FROM inet_client_addr() AND l.code IS NOT DISTINCT FROM broken AND l.at > clock_timestamp() - interval '1 minute') THEN
      RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO palisade_audit.login (app, role, address, backend, code)
    VALUES (name, session_user, inet_client_addr(), pg_backend_pid(), broken);
  EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'palisade: the login trigger could not do its work: % (%)', SQLERRM, SQLSTATE;
  END;
END $palisade$;

ALTER TABLE palisade_audit.login OWNER TO palisade_owner;
ALTER FUNCTION palisade_audit.logged_in() OWNER TO palisade_owner;
ALTER FUNCTION palisade_audit.objection() OWNER TO palisade_owner;
REVOKE ALL ON FUNCTION palisade_audit.logged_in(), palisade_audit.objection() FROM PUBLIC;
GRANT USAGE ON SCHEMA palisade_audit TO palisade_owner;
DROP EVENT TRIGGER IF EXISTS palisade_login;
CREATE EVENT TRIGGER palisade_login ON login EXECUTE FUNCTION palisade_audit.logged_in();
