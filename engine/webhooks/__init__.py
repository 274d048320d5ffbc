"""Webhooks: who is told of what happens here, signed, and again until it was heard."""
