"""What the lineage graph shows: partitions, automation, and one folder for each domain, each with the same rooms.

schema.py      tables and the fields of its topic
transforms.py  pure: DataFrame in, DataFrame out
streams.py     its StreamSpecs
assets.py      its marts, with their automation
checks.py      what must hold of them

marts.py and automation.py make the mart of a domain and repair it; accounting.py, dead_letters.py and maintenance.py concern
all streams, which streams.py lists; fixes.py has the named fixes of dead letters.
"""
