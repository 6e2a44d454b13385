"""Dagster's definitions: one folder for each domain, with the same file names, and `platform` for jobs and assets of all domains."""
