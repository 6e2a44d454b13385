"""Marts: partitioned tables that are computed from a source, and computed again when it changes.

spec.py      Mart, Source, and how long a partition waits
version.py   the version of a partition: how it is computed
sources.py   sources: a lake table, PostgreSQL
window.py    a source: a window of another mart's dates
earlier.py   the rows of a long history that may repeat new ones
states.py    what a source remembers, so that it reads only what has changed
compute.py   how partitions are computed
factory.py   the asset, the job and all definitions of a mart
compare.py   which partitions differ from the source, and which of them are due
repair.py    the sensor: whether a run may be requested, and the request
initial.py   a job that computes all that differs of several marts
history.py   facts about partitions from Dagster's event log
serve.py     a mart's copy in PostgreSQL
metadata.py  metadata of a materialization
failures.py  failures in a row of each partition
"""
