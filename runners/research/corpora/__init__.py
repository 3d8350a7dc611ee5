"""Texts to train and to evaluate on."""
