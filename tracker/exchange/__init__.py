"""`import` and `export`: results of other programs into this home, and those of this home for others."""
