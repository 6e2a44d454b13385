"""Jobs and assets of all domains: accounts, dead letters, reports, maintenance of tables, and the schedule of checks."""
