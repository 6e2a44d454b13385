"""The embedded stack.

jars.py         resolves Kafka's and Spark's jars once
services.py     the list: each service's command, with its preparation (prepare.py) and its probe (probes.py)
supervision.py  supervisord, which starts them, restarts what dies and rotates the logs
stopping.py     asks the runs to end, before anything that they need is stopped
stack.py        start, stop and look at all of them
"""
