"""Delta tables: what they are (table.py), how Spark writes them (write.py), and what their log says without a JVM (log.py)."""
