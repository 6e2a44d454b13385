"""The shop's views and purchases: stored, and summed by the hour in a topic and in a mart."""
