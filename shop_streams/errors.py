"""The errors that a person sees: each names the thing, the value and the next step."""


class ShopStreamsError(Exception):
    """An expected failure. Its text says what is wrong and what to do next; the CLI prints it without a traceback."""
