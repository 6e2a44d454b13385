"""Avro as the encoding of a record: the bytes of one record of a fixed schema, without a header or a schema id."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro

from shop_streams.rules import Encoding


def avro(schema: Mapping[str, Any]) -> Encoding:
    """The encoding of records with this schema."""
    parsed = fastavro.parse_schema(dict(schema))

    def parse(value: bytes) -> Any:
        source = io.BytesIO(value)
        try:
            record = fastavro.schemaless_reader(source, parsed, None)
        except Exception as error:  # fastavro has no error class of its own: EOFError, IndexError, struct.error …
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if extra := len(value) - source.tell():
            raise ValueError(f"{extra} bytes after the record")
        return record

    return Encoding("Avro", parse)
