-- One row per benchmark of a source that is a task here.
select * from benchmark_tasks order by benchmark
