-- One row per request to a model and its verbatim answer.
-- $study_id, $slot: only these; null for all.
select *
from proposals
where ($study_id is null or study_id = $study_id)
  and ($slot is null or slot = $slot)
order by study_id, slot, place
