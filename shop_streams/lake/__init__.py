"""Delta tables: what they are, how Spark writes them, and what their log says without a JVM."""
