"""What only world models are asked: the controls of a latent variable, decoding of states into frames."""
