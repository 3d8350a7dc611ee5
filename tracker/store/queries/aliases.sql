-- One row per name of a source that is matched to a Hub repository. $basis: only matches made so; null for all.
select *
from aliases
where ($basis is null or basis = $basis)
order by source, name
