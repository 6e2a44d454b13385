"""HTTP out (`python -m shop_streams.api`). The items of clickstream, the pages that show them, health, and the state of each stream.

app.py          the application and its paths
items.py        questions about items, and their answers
cache.py        answers for several requests
database.py     connections, and how long requests wait for them
models.py       parameters and answers, as documentation
operations.py   health and streams
pages.py        the pages, and the headers of every answer
`__main__.py`   the process
"""
