-- One row per training behind a verdict, with its loss curve; slot -1 is the final comparison on `test`,
-- and the one at a larger size.
-- $study_id, $slot: only these; null for all.
select *
from trainings
where ($study_id is null or study_id = $study_id)
  and ($slot is null or slot = $slot)
order by study_id, slot, case phase when 'gate' then 0 when 'confirmation' then 1 when 'test' then 2 else 3 end, place, role desc
