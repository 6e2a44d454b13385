"""The engine room: a domain writes a `StreamSpec`, everything else is here.

spec.py        what a stream is: topic in, sink out
records.py     Kafka records, and the rules that decide between a row and a dead letter
dead_letters.py  the table of what was refused
drafts.py, replay.py, replay_ledger.py  mend a letter and let the rules validate it; send it again; what was sent, and where it lies
accounting.py  offsets = rows + dead letters + in flight
checkpoint.py  what must stay as it was at a stream's first start
sinks.py       where a stream's batches go: a Delta table with dead letters, or a Kafka topic
lease.py       exactly one alive: the lease row in PostgreSQL with its fencing epoch
rest.py        a stack that is being stopped asks its streams to rest
beats.py       runs of marts beat too
managed.py     the long-lived op: start the query, beat, report, stop
query.py       whether Spark answers; stopping a run's queries on every way out
patience.py    PostgreSQL that is away is waited for as for a missed beat
progress.py    what the op reports as materializations
keep_alive.py  the decision table and the sensor that starts a stream again
factory.py     StreamSpec -> job, op, assets, checks, sensor
"""
