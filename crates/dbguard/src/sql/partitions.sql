
-- A partition that is made later inherits the trigger for rows, and not the one for TRUNCATE: these lack it.
CREATE FUNCTION palisade.bare_partitions(OUT relation regclass, OUT rule integer, OUT always boolean) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT t.relid, g.id, g.always FROM palisade.guard g CROSS JOIN LATERAL pg_partition_tree(g.relation) t
  WHERE t.relid <> g.relation
    AND NOT EXISTS (SELECT FROM pg_trigger r WHERE r.tgrelid = t.relid AND r.tgname = 'palisade_truncate');
$palisade$;

-- Gives one to a partition, with the rights of whoever owns it. The function's owner counts its running rows.
CREATE FUNCTION palisade.cover(relation regclass, rule integer, always boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $palisade$
DECLARE
  guardian oid := (SELECT p.proowner FROM pg_proc p WHERE p.oid = format('palisade.truncate_%s()', rule)::regprocedure);
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER palisade_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT '
    'EXECUTE FUNCTION palisade.truncate_%s()', relation, rule);
  IF always THEN
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER palisade_truncate', relation);
  END IF;
  IF NOT has_table_privilege(guardian, relation, 'SELECT') THEN
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, guardian::regrole);
  END IF;
END $palisade$;

-- Called by an event trigger, where a superuser could make one: a migration never fails or waits for it.
CREATE FUNCTION palisade.partition_made() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  bare record;
BEGIN
  FOR bare IN SELECT b.relation, b.rule, b.always FROM palisade.bare_partitions() b
    WHERE EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_class'::regclass
      AND c.objid IN (SELECT a.relid FROM pg_partition_ancestors(b.relation) a))
  LOOP
    BEGIN
      PERFORM palisade.cover(bare.relation, bare.rule, bare.always);
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'palisade: TRUNCATE of the new partition % is not guarded: % (%)', bare.relation, SQLERRM, SQLSTATE;
    END;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'palisade: the guard of new partitions could not do its work: % (%)', SQLERRM, SQLSTATE;
END $palisade$;
