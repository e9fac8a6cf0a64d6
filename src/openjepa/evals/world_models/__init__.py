"""Evaluations for world models alone: the controls of a latent variable, decoding of states into frames."""
