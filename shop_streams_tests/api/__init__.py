"""The API over a PostgreSQL of its own, without the other services."""
