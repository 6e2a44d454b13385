"""The shop's views and purchases: stored, and added up by the hour in a topic and in a mart."""
