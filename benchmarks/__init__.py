"""What OpenJEPA costs and what it learns, measured: see README.md. Nothing in the package imports this."""
