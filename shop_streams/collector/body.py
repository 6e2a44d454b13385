"""Reads a request's body, with limits on its size, its unpacked size and the time."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from granian.rsgi import ProtocolClosed, ProtocolError

from shop_streams.collector.refusals import Refused

BODY_SECONDS = 6.0  # less than a stop waits
DRAIN_SECONDS = 2.0
READING_BYTES = 134_217_728  # of all requests together
_MARGIN = 4  # times the limit: so much is read and dropped, so that the client gets the answer


class BodyReader:
    """Reads bodies for one collector, and limits their total size at one moment."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reading = 0

    async def read(self, headers: Any, proto: Any) -> bytes:
        """The body, decompressed.

        Raises:
            Refused: 408, 413, 415, 422, or 503 when too many bodies are being read.
            ProtocolClosed: the connection ended before the body did.
        """
        encoding = (headers.get("content-encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise Refused(415, "Content-Encoding must be gzip or identity")
        length = headers.get("content-length") if "transfer-encoding" not in headers else None
        declared = self._limit if length is None else int(length)
        if declared > self._limit:
            raise self.too_large()
        if self._reading + declared > READING_BYTES:
            raise Refused(503, "Too many bodies are being read. Nothing was stored: send it again later.")
        self._reading += declared
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await proto() if length is not None else await self._read_chunks(proto)
        except TimeoutError as error:
            raise Refused(408, f"The body did not come within {BODY_SECONDS:.0f} s") from error
        finally:
            self._reading -= declared
        return body if encoding == "identity" else self._unpack(body)

    async def _read_chunks(self, proto: Any) -> bytes:
        # A connection that ends between two chunks looks like the end of the body here; half an event is no JSON.
        chunks = bytearray()
        async for chunk in proto:
            chunks += chunk
            if len(chunks) > self._limit:
                raise self.too_large(drain=False)
        return bytes(chunks)

    def _unpack(self, body: bytes) -> bytes:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            plain = unpacker.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise Refused(422, f"Not gzip: {error}", field="body") from error
        if len(plain) > self._limit:
            raise self.too_large(drain=False)
        if not unpacker.eof or unpacker.unused_data:
            raise Refused(422, "Not gzip: one whole member is expected", field="body")
        return plain

    async def drain(self, proto: Any) -> None:
        """Read and drop the rest of a refused body: a client reads the answer only after it has sent the body."""
        left = self._limit * _MARGIN
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for chunk in proto:
                    left -= len(chunk)
                    if left < 0:
                        return
        except (TimeoutError, ProtocolClosed, ProtocolError):  # ProtocolError: the body was read already
            return

    def too_large(self, drain: bool = True) -> Refused:
        return Refused(413, f"The body is larger than {self._limit} bytes", drain=drain)
