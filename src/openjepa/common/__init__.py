"""What every room stands on: randomness, processes, files, progress; nothing here knows what a JEPA is."""
