-- One row per dated series: its source, unit and days.
select source, series, any_value(unit) as unit, count(distinct day) as n_days, min(day) as first, max(day) as last
from dated_values
group by source, series
order by source, series
