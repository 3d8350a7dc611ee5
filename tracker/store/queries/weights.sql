-- One row per commit of a model whose weights are known, oldest first.
select model_id, revision, weights_hash, seen_at
from weights
order by seen_at, model_id, revision
