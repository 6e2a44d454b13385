"""Faults under traffic, and an oracle that knows what was promised.

plan.py     which fault comes next: seeded, pure
traffic.py  clients that send on, and remember what was acknowledged
inflict.py  how each fault is done
oracle.py   DuckDB over the clients' memory, against every table, topic and mart
late_commits.py  transactions whose requests to commit arrive late
run.py      all of it together; `__main__.py` is `make faults`
"""
