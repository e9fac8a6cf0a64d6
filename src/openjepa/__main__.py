"""`python -m openjepa`, which is what `torchrun` starts."""

from openjepa.cli import main

if __name__ == "__main__":
    main()
