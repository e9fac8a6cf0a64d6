"""How true the verdict is: short runs, good and bad on purpose, and what `openjepa health` says of them."""
