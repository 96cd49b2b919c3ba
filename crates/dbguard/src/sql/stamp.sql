
-- Which environment this database belongs to, bound to what a copy does not have. The signature is for clients: a
-- database cannot check it.
CREATE TABLE palisade.stamp (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  environment text NOT NULL,
  system_identifier text,
  database_oid oid NOT NULL,
  timeline integer,
  branch text NOT NULL DEFAULT '',
  stamped_at timestamptz NOT NULL,
  stamped_by text NOT NULL DEFAULT session_user,
  signature text
);

-- Renewed by an agent: what a physical copy stops having. No row: nobody renews it, and nothing follows.
CREATE TABLE palisade.beacon (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  at timestamptz NOT NULL,
  max_age interval NOT NULL,
  agent text NOT NULL
);

-- This database as it is now, as far as this server tells.
CREATE FUNCTION palisade.database(OUT system text, OUT number oid, OUT timeline integer, OUT branch text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  SELECT d.oid INTO number FROM pg_database d WHERE d.datname = current_database();
  branch := coalesce(nullif(current_setting('neon.branch_id', true), ''), current_setting('neon.timeline_id', true), '');
  BEGIN
    SELECT s.system_identifier INTO system FROM pg_control_system() s;
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
  EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported OR object_not_in_prerequisite_state THEN
    -- Some providers do not tell, and a standby has no place to write at.
    NULL;
  END;
END $palisade$;

-- All of it in one look: what this database is, how proofs name it, and what keeps the stamp from counting, or NULL. Only a
-- copy is certain; the others take rights away and refuse nothing.
CREATE FUNCTION palisade.place(OUT id text, OUT environment text, OUT flaw text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  SELECT coalesce(d.system, 'unknown') || '/' || d.number || CASE WHEN d.branch <> '' THEN '/' || d.branch ELSE '' END,
    s.environment, CASE
    WHEN s.one IS NULL THEN 'unstamped'
    -- Where the stamp names no branch, a setting of that name is nobody's but the session's own.
    WHEN s.system_identifier <> d.system OR s.database_oid <> d.number OR s.branch <> '' AND s.branch <> d.branch THEN 'copy'
    WHEN s.timeline <> d.timeline THEN 'promoted'
    WHEN b.at < clock_timestamp() - b.max_age THEN 'stale' END INTO id, environment, flaw
  FROM palisade.database() d LEFT JOIN palisade.stamp s ON true LEFT JOIN palisade.beacon b ON true;
END $palisade$;

CREATE FUNCTION palisade.database_id() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $palisade$ SELECT p.id FROM palisade.place() p $palisade$;

CREATE FUNCTION palisade.flaw() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $palisade$ SELECT p.flaw FROM palisade.place() p $palisade$;
