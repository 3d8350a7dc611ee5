-- One row per finished trial of $study_id in the order of the slots; null for all studies.
select *
from trials
where ($study_id is null or study_id = $study_id)
order by study_id, slot
