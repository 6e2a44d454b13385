"""Product events from the collector: stored, and enriched in 3-hour windows."""
