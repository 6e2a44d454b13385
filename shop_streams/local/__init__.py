"""The embedded stack.

jars.py resolves Kafka's and Spark's jars once; services.py says what each service is and how to tell that it is
healthy; stack.py starts, watches and stops them through supervisord.
"""
