"""Delta tables: what they are (table.py), how Dagster shows them (asset.py), how Spark writes them (write.py), and what their log says without a JVM (log.py)."""
