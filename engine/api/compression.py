"""gzip for who asks for it, and no other coding."""

from __future__ import annotations

from aiohttp import web

COMPRESSED_FROM_BYTES = 1024
_REFUSED = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})


def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Have an answer compressed that is not begun, unless it is short or the caller does not take gzip."""
    is_short = isinstance(response, web.Response) and _bytes_of(response) < COMPRESSED_FROM_BYTES
    if not is_short and _takes_gzip(request):
        # Left to itself aiohttp prefers deflate, of which there are two that look alike.
        response.enable_compression(web.ContentCoding.gzip)


def _bytes_of(response: web.Response) -> int:
    return len(response.body) if isinstance(response.body, bytes | bytearray) else 0


def _takes_gzip(request: web.Request) -> bool:
    for each in ",".join(request.headers.getall("Accept-Encoding", [])).lower().split(","):
        coding, _, quality = each.replace(" ", "").partition(";")
        if coding == "gzip":
            return quality not in _REFUSED
    return False
