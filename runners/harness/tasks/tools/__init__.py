"""The tasks of the suite `tools`: a small world of records, its tools, and requests drawn from a seed."""
