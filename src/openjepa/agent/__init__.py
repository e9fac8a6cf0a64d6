"""LeCun 2022's agent: perception, world model, cost, actor, short-term memory, configurator."""
