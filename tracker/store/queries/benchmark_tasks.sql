-- One row per benchmark of a source that corresponds to a task here.
select * from benchmark_tasks order by benchmark
