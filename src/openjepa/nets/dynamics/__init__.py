"""Predictors of world models: states and actions in, the next states out."""
