"""Delta tables: specification, idempotent writes, reading without a JVM, maintenance."""
