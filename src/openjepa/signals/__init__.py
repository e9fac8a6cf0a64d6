"""What a sample is, and how it becomes tokens with positions."""
