"""What concerns every domain: accounts, dead letters, maintenance of tables, the schedules of checks."""
