"""Access: tokens, and the webhooks that are told of what happens."""

from __future__ import annotations

from engine.access.roles import ADMINS, OPS, Role
from engine.access.tokens import DAYS_MAX
from engine.api.routes import SCOPES
from engine.api.tokens import TokenFilter, list_of_tokens
from engine.api.webhooks import (
    DeliveryFilter,
    OfWebhook,
    WebhookFilter,
    list_of_deliveries,
    list_of_webhooks,
    show_webhook,
)
from engine.console.page import Pages, Shown
from engine.console.visits import Visit
from engine.store.outbox import Event
from engine.webhooks.deliveries import DeliveryState

pages = Pages("/ops")


@pages.get("/ops/tokens", ADMINS)
async def tokens(visit: Visit, params: TokenFilter) -> Shown:
    """Every token, in the order they were issued."""
    shown = {
        "tokens": await list_of_tokens(visit.call, params),
        "is_later": params.after is not None,
        "roles": [str(role) for role in Role],
        "scopes": sorted(SCOPES),
        "days_max": DAYS_MAX,
    }
    return Shown("ops/tokens.html", shown)


@pages.get("/ops/webhooks", OPS)
async def webhooks(visit: Visit, params: WebhookFilter) -> Shown:
    """Every webhook, in the order they were registered."""
    found = await list_of_webhooks(visit.call, params)
    return Shown("ops/webhooks.html", {"webhooks": found, "events": list(Event), "is_later": params.after is not None})


@pages.get("/ops/webhooks/{webhook_id}", OPS)
async def webhook(visit: Visit, params: DeliveryFilter) -> Shown:
    """One webhook, and how far each message to it is."""
    shown = {
        "webhook": await show_webhook(visit.call, OfWebhook(webhook_id=params.webhook_id)),
        "deliveries": await list_of_deliveries(visit.call, params),
        "states": [str(state) for state in DeliveryState],
        "asked": params,
        "is_later": params.after is not None,
    }
    return Shown("ops/webhook.html", shown)
