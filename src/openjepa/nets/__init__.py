"""Encoders, predictors and heads."""
