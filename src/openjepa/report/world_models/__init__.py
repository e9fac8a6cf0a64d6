"""The report of a world model: rollouts, decoded predictions, episodes, planning."""
