-- One row per published score series with at least two models.
select source, benchmark, variant, min(unit) as unit, count(distinct name) as n_models
from current_scores
where not is_withdrawn
group by source, benchmark, variant
having count(distinct name) > 1
order by source, benchmark, variant
