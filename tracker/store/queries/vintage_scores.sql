-- One row per score of the vintage $vintage_id.
select * from vintage_scores where vintage_id = $vintage_id order by model, benchmark
