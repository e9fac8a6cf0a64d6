"""What agents achieve with world models trained in minutes: one module for each measured point.

A point has `measure(settings) -> dict`, plain data, and `as_markdown(found) -> str`.
"""
