"""The engine for marts: a domain writes a `Mart`; its asset, its version and its repair are here."""
