CREATE OR REPLACE FUNCTION palisade.rows_{id}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp{zone} AS $palisade$
DECLARE
  was text;
  became text;
  beat timestamptz;
  became_beat timestamptz;
  key text;
  became_key text;
  reason text;
  reason_was text;
  content text;
  mark text;
  mine boolean := true;
  ran boolean;
  runs boolean;
  readable boolean := true;
  done boolean;
BEGIN
  -- Columns are read here and nowhere else, so that whatever was altered since is caught here.
  BEGIN
    IF TG_OP = 'UPDATE' THEN
      -- A beat: the common case, decided in one expression.
      IF {was} = ANY ({running}) AND {became} = ANY ({running})
        AND {old_key} = {new_key} AND {beats} THEN
        RETURN NULL;
      END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
      was := {was};
      ran := was = ANY ({running});
    END IF;
    IF TG_OP <> 'DELETE' THEN
      became := {became};
      runs := became = ANY ({running});
    END IF;
    IF ran THEN
      beat := {beat};
      key := {old_key};
      reason_was := {reason_was};
    END IF;
    IF TG_OP <> 'DELETE' AND (ran OR runs) THEN
      became_beat := {became_beat};
      became_key := {new_key};
      reason := {reason};
      mark := {mark};
    END IF;
    IF ran AND TG_OP = 'UPDATE' THEN
      mine := {mine};
    END IF;
    -- Some libraries and every change of partition move a job by deleting it and putting it back in one statement.
    IF ran AND TG_OP = 'DELETE' THEN
      SELECT {moved_status}, {moved_beat}, {moved_key}, {moved_reason}, {moved_mark}, palisade.content(t)
      INTO became, became_beat, became_key, reason, mark, content FROM {table} t WHERE {same};
      runs := became = ANY ({running});
    END IF;
    -- Enough to give the job back, where it is not done. Settings that change how a row is written are changed only where
    -- they have to be.
    IF ran AND TG_OP = 'UPDATE' AND runs IS NOT TRUE AND became <> ALL ({done}) THEN
      content := CASE WHEN current_setting('TimeZone') IN ('UTC', 'Etc/UTC') AND current_setting('IntervalStyle') = 'postgres'
        AND current_setting('bytea_output') = 'hex' THEN md5(to_jsonb(NEW)::text) ELSE palisade.content(NEW) END;
    END IF;
  EXCEPTION WHEN statement_too_complex THEN
    -- Where the stack is too deep for a look it is too deep for a judgement, and nobody gets past one by going down there.
    RAISE;
  WHEN OTHERS THEN
    IF TG_OP <> 'INSERT' THEN
      SELECT r.status, r.beat, r.key, r.reason, r.readable INTO was, beat, key, reason_was, readable
      FROM palisade.read({id}, to_jsonb(OLD)) r;
      ran := was = ANY ({running});
    END IF;
    IF TG_OP <> 'DELETE' THEN
      SELECT r.status, r.beat, r.key, r.reason, r.mark INTO became, became_beat, became_key, reason, mark
      FROM palisade.read({id}, to_jsonb(NEW)) r;
      runs := became = ANY ({running});
    END IF;
    IF ran AND TG_OP = 'UPDATE' AND runs IS NOT TRUE THEN
      content := palisade.content(NEW);
    END IF;
  END;{still}
  -- Once this transaction has written, it holds what a lock of somebody else could keep from it: what can be caught is caught
  -- the first time, and a large update makes one subtransaction and not one for each row. Who forges the mark only does
  -- without that itself.
  IF current_setting('palisade.written', true) = pg_current_xact_id()::text THEN
    done := {act};
    RETURN NULL;
  END IF;
  BEGIN
    done := {act};
    IF done THEN
      PERFORM set_config('palisade.written', pg_current_xact_id()::text, true);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- A refusal is meant, and a conflict of transactions is the app's to repeat, as a stack that is too deep is its own. Anything
    -- else is the guard's own trouble, which stops nothing but an exit that cannot be judged.
    IF SQLSTATE LIKE 'PL3__' OR SQLSTATE LIKE '40___' OR SQLSTATE = '54001' THEN
      RAISE;
    END IF;
    RAISE LOG 'palisade: the guard of % could not do its work: % (%)', TG_RELID::regclass, SQLERRM, SQLSTATE;
    IF ran AND runs IS NOT TRUE AND coalesce(became, TG_OP) <> ALL ({done}) AND palisade.enforces({id}) THEN
      RAISE EXCEPTION USING ERRCODE = 'PL307',
        MESSAGE = format('Palisade: %s -> %s refused: the guard of %s cannot judge', was, coalesce(became, TG_OP),
          TG_RELID::regclass),
        HINT = 'What it means and how to go on: palisade explain PAL-307';
    END IF;
  END;
  RETURN NULL;
END $palisade$;
