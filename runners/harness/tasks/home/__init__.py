"""The tasks of the suite `home`: a simulated home with a clock, and what people ask of it, drawn from a seed.

`devices` what there is · `world` state and time · `house` and `commands` the draw · `grading` the judgment ·
`documented`, `rest`, `network` the three levels · `process` the world's own process, `client` and `draw` the
worker's side of it.
"""
