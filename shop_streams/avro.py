"""Avro as the encoding of a record: the bytes of one record of a fixed schema, without a header or a schema id."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro
from fastavro.validation import ValidationError, validate

from shop_streams.encoding import Encoding

FRAME_BYTES = 5  # Confluent's: a zero byte, and the schema's id with 4 bytes


def avro(schema: Mapping[str, Any]) -> Encoding:
    """The encoding of records with this schema.

    `parse` accepts only the bytes that fastavro would write for the record. fastavro reads more: a number of a branch below
    zero, or a number of a million bytes.

    Raises:
        ValueError: the schema has arrays or maps. The same one can be written in several ways, and a few bytes can mean 2^60
            items without bytes.
    """
    parsed: Any = fastavro.parse_schema(dict(schema))
    if _has_blocks(parsed):
        raise ValueError("records with arrays or maps can't be read yet")

    encode = encoder(parsed)

    def parse(value: bytes) -> Any:
        source = io.BytesIO(value)
        try:
            record: Any = fastavro.schemaless_reader(source, parsed, None)
            if extra := len(value) - source.tell():
                raise ValueError(f"{extra} bytes after the record")
            if encode(record) != value:
                raise ValueError("not as an Avro library writes it")
        except Exception as error:  # fastavro has no error class of its own: EOFError, IndexError, struct.error …
            raise ValueError(_framing(value) + _words(error, source.tell() == len(value))) from error
        return record

    def write(record: Any) -> bytes:
        out = io.BytesIO()
        try:
            validate(record, parsed, raise_errors=True)  # the writer alone would cut 1.5 to 1
            fastavro.schemaless_writer(out, parsed, record, strict_allow_default=True)
        except ValidationError as error:
            raise ValueError("; ".join(map(str, error.errors))) from error
        except Exception as error:  # the writer has no error class of its own either
            raise ValueError(str(error)) from error
        return out.getvalue()

    return Encoding("Avro", parse, write)


def encoder(schema: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bytes]:
    """A function from a record of this schema to its bytes. It does not check the record, as the encoding's `write` does."""
    parsed = fastavro.parse_schema(dict(schema))

    def encode(record: Mapping[str, Any]) -> bytes:
        target = io.BytesIO()
        fastavro.schemaless_writer(target, parsed, record)
        return target.getvalue()

    return encode


def _has_blocks(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_blocks, schema))
    if isinstance(schema, dict):
        return schema["type"] in ("array", "map") or any(
            _has_blocks(part) for part in (schema["type"], *(field["type"] for field in schema.get("fields", ())))
        )
    return schema in ("array", "map")


def _words(error: Exception, at_end: bool) -> str:
    if isinstance(error, EOFError) or (isinstance(error, IndexError) and at_end):
        return "the record is incomplete"
    if isinstance(error, IndexError):  # a branch that its union lacks
        return "it does not fit the schema"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _framing(value: bytes) -> str:
    """Words for a value that begins like a record in Confluent's framing, otherwise nothing."""
    framed = value[:1] == b"\0" and len(value) > FRAME_BYTES
    return "it begins with Confluent's frame (byte 0 and a schema id); " if framed else ""
