"""Decide what to measure next, and measure it within a budget."""
