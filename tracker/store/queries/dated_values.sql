-- One row per day and model of a dated series, days in order. $series: only this one; null for all.
select source, series, day, name, value, unit, ci_low, ci_high, access
from dated_values
where $series is null or series = $series
order by source, series, day, value desc, name
