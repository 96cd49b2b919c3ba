CASE
      WHEN ran AND runs THEN palisade.keep({id}, TG_OP = 'DELETE', readable, key, became_key, was, beat, became_beat)
      WHEN ran THEN palisade.leave({id}, key, was, coalesce(became, TG_OP), beat, reason, mark, readable, reason_was, content,
        mine, coalesce(became, TG_OP) = ANY ({done}))
      WHEN runs THEN palisade.come({id}, became_key, was, became, became_beat) END