CREATE TABLE IF NOT EXISTS palisade_audit.login (
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  app text NOT NULL,
  role text NOT NULL,
  address inet,
  backend integer NOT NULL
);
CREATE INDEX IF NOT EXISTS login_who ON palisade_audit.login (app, role, at);

-- Nobody may be kept out by it: it catches its own errors, waits for no lock, and writes nothing on a standby. Equal
-- logins within a minute are one row, so that an app that connects for each request does not fill the table.
CREATE OR REPLACE FUNCTION palisade_audit.logged_in() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $palisade$
DECLARE
  name text := coalesce(current_setting('application_name', true), '');
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;
  END IF;
  BEGIN
    IF EXISTS (SELECT FROM palisade_audit.login l WHERE l.app = name AND l.role = session_user
      AND l.address IS NOT DISTINCT FROM inet_client_addr() AND l.at > clock_timestamp() - interval '1 minute') THEN
      RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO palisade_audit.login (app, role, address, backend)
    VALUES (name, session_user, inet_client_addr(), pg_backend_pid());
  EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'palisade: the login trigger could not do its work: % (%)', SQLERRM, SQLSTATE;
  END;
END $palisade$;

ALTER TABLE palisade_audit.login OWNER TO palisade_owner;
ALTER FUNCTION palisade_audit.logged_in() OWNER TO palisade_owner;
GRANT USAGE ON SCHEMA palisade_audit TO palisade_owner;
DROP EVENT TRIGGER IF EXISTS palisade_login;
CREATE EVENT TRIGGER palisade_login ON login EXECUTE FUNCTION palisade_audit.logged_in();
