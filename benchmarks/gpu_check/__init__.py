"""The first ten minutes on a card: everything that this project assumes about it (`make gpu-check`).

`sections.py` lists the assumptions. Each section runs in a process of its own with a time limit, so that
a crash or a hang costs that section only. Needs Python and torch; sections that need more
say so and are skipped.
"""
