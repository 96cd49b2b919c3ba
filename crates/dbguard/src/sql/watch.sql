
-- What a judgement looks at first, in one row: whether anybody has to be told apart here. The tables that it sums up keep it.
CREATE TABLE palisade.watch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  -- A build may be too old, somebody is in quarantine, or a role is bound to an environment.
  watched boolean NOT NULL,
  -- The environment of the stamp.
  home text
);
INSERT INTO palisade.watch (watched) VALUES (true);

-- Two that change something at once would each miss what the other did: the second waits.
CREATE FUNCTION palisade.sum_up() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  PERFORM 1 FROM palisade.watch w FOR UPDATE;
  UPDATE palisade.watch w SET home = (SELECT s.environment FROM palisade.stamp s),
    watched = EXISTS (SELECT FROM palisade.app a WHERE a.minimum_epoch IS NOT NULL)
      OR EXISTS (SELECT FROM palisade.quarantine q WHERE q.lifted_at IS NULL) OR EXISTS (SELECT FROM palisade.binding);
  RETURN NULL;
END $palisade$;

CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.app
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.quarantine
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.stamp
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.binding
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
UPDATE palisade.binding SET role = role WHERE false;
