-- One row per score series of at least two models that the sources brought.
select source, benchmark, variant, min(unit) as unit, count(distinct name) as n_models
from current_scores
where not is_withdrawn
group by source, benchmark, variant
having count(distinct name) > 1
order by source, benchmark, variant
