"""Speed as a measurement: a published load generator against the server of an engine.

Not covered: the quality of the answers, which a bench measures; load that arrives at a given rate.
"""
