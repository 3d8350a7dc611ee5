-- One row per benchmark of the vintage $vintage_id.
select * from vintage_benchmarks where vintage_id = $vintage_id order by benchmark
