"""What a report shows of a world model: rollouts, decoded predictions, episodes, planning."""
