"""What webhooks are sent, and its signature: the Standard Webhooks scheme, version 1.

A webhook's secret is made from the key of the settings and the webhook's number, so that no secret is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import SecretStr

_PREFIX = "whsec_"


def secret_of(signing_key: SecretStr, webhook_id: int) -> str:
    """The secret of a webhook as its receiver keeps it: `whsec_` and 32 bytes in base64."""
    made = _hmac(signing_key.get_secret_value().encode(), f"fentan webhook {webhook_id}".encode())
    return _PREFIX + base64.b64encode(made).decode()


def body_of(event: str, happened_at: datetime, detail: Mapping[str, object]) -> bytes:
    """The JSON that is sent: the same to everybody, and at every try."""
    moment = happened_at.astimezone(UTC).isoformat().replace("+00:00", "Z")  # as the API writes it
    said = {"type": event, "timestamp": moment, "data": detail}
    return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def headers_of(secret: str, message_id: int, at: datetime, body: bytes) -> dict[str, str]:
    """What is sent beside the body at a try: which message it is, when it is sent, and by whom (HMAC-SHA256)."""
    sent = {"webhook-id": f"msg_{message_id}", "webhook-timestamp": str(int(at.timestamp()))}
    signed = ".".join(sent.values()).encode() + b"." + body
    made = _hmac(base64.b64decode(secret.removeprefix(_PREFIX)), signed)
    return {
        **sent,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
        "Content-Type": "application/json",
        "User-Agent": "Fentan",
    }


def _hmac(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, said, hashlib.sha256)
