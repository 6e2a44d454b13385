"""The engine for streams: a domain writes a `StreamSpec`, everything else is here."""
