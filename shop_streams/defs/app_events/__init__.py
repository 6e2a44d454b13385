"""Product events from the collector: stored, and enriched by the window."""
