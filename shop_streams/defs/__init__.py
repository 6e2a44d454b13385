"""What Dagster shows: one folder for each domain, each with the same file names, and `platform` for what concerns them all."""
