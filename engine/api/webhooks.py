"""Webhooks: who is told of what, and how far each message is (docs/webhooks.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.access.roles import ADMINS, OPS
from engine.api.endpoint import Endpoints
from engine.api.fields import Id, Model, Moment, Numbered, Page, Paged, Reasoned
from engine.api.service import Call
from engine.store.outbox import Event
from engine.webhooks import deliveries, registered
from engine.webhooks.deliveries import Delivery, DeliveryState
from engine.webhooks.registered import ADDRESS, ADDRESS_LENGTH_MAX, Webhook

endpoints = Endpoints("webhooks", "Webhooks: who is told of what, and whether it was heard.")


class OfWebhook(Model):
    """One webhook."""

    webhook_id: Id


class OfDelivery(Model):
    """One message to one webhook."""

    webhook_id: Id
    message_id: Id


class WebhookFilter(Paged):
    """Which webhooks, in the order they were registered."""

    after: Numbered = None


class DeliveryFilter(Paged):
    """Which messages to a webhook, newest first."""

    webhook_id: Id
    state: DeliveryState | None = None
    after: Numbered = None


class NewWebhook(Model):
    """Where to, and what of. https; plain http for a receiver on the same machine."""

    url: Annotated[str, Field(max_length=ADDRESS_LENGTH_MAX, pattern=ADDRESS)]
    events: Annotated[list[Event], Field(min_length=1, max_length=len(Event))]


class WebhookView(Model):
    """A webhook; never its secret. `ended_at`: from then on it is told of nothing."""

    webhook_id: int
    url: str
    events: list[Event]
    made_by: str
    made_at: Moment
    ended_at: Moment | None


class RegisteredWebhook(WebhookView):
    """A new webhook: `secret`, which its messages are signed with, is shown this once."""

    secret: str


class DeliveryView(Model):
    """One message to one webhook. `due_at`: not tried before; `error`: why it was not heard at the last try."""

    message_id: int
    webhook_id: int
    event: Event
    subject: str
    happened_at: Moment
    state: DeliveryState
    tries: int
    due_at: Moment | None
    ended_at: Moment | None
    error: str | None


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView.model_validate(webhook, from_attributes=True)


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView.model_validate(delivery, from_attributes=True)


@endpoints.get("/webhooks", OPS)
async def list_of_webhooks(call: Call, params: WebhookFilter) -> Page[WebhookView]:
    """Every webhook, in the order they were registered; the ended ones too."""
    after = int(params.after) if params.after else 0
    found = await registered.list_webhooks(call.connection, after=after, limit=params.limit + 1)
    return call.page(found, params.limit, _view, lambda webhook: webhook.webhook_id)


@endpoints.get("/webhooks/{webhook_id}", OPS)
async def show_webhook(call: Call, params: OfWebhook) -> WebhookView:
    """One webhook."""
    return _view(await registered.webhook_of(call.connection, params.webhook_id))


@endpoints.post("/webhooks", ADMINS, status=201, is_secret=True)
async def register_webhook(call: Call, body: NewWebhook) -> RegisteredWebhook:
    """Have an address told of events; the secret that signs what it is told is shown this once."""
    webhook, secret = await registered.register(
        call.connection, body.url, body.events, signing_key=call.service.settings.signing_key, actor=call.actor
    )
    call.created(f"/v1/webhooks/{webhook.webhook_id}")
    return RegisteredWebhook(**dict(_view(webhook)), secret=secret)


@endpoints.post("/webhooks/{webhook_id}/end", ADMINS, changes=show_webhook)
async def end_webhook(call: Call, params: OfWebhook, body: Reasoned) -> WebhookView:
    """Tell it nothing more; the same again changes nothing."""
    ended = await registered.end(call.connection, params.webhook_id, now=call.now, actor=call.actor, reason=body.reason)
    return _view(ended)


@endpoints.get("/webhooks/{webhook_id}/deliveries", OPS)
async def list_of_deliveries(call: Call, params: DeliveryFilter) -> Page[DeliveryView]:
    """The messages to a webhook, newest first."""
    found = await deliveries.list_deliveries(
        call.connection,
        params.webhook_id,
        state=params.state,
        after=int(params.after) if params.after else None,
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, _delivery_view, lambda delivery: delivery.message_id)


@endpoints.get("/webhooks/{webhook_id}/deliveries/{message_id}", OPS)
async def show_delivery(call: Call, params: OfDelivery) -> DeliveryView:
    """One message to a webhook: whether it was heard."""
    return _delivery_view(await deliveries.delivery_of(call.connection, params.webhook_id, params.message_id))


@endpoints.post("/webhooks/{webhook_id}/deliveries/{message_id}/retry", OPS, changes=show_delivery)
async def retry_delivery(call: Call, params: OfDelivery) -> DeliveryView:
    """Try it again now, one that failed as well."""
    return _delivery_view(
        await deliveries.retry(call.connection, params.webhook_id, params.message_id, actor=call.actor)
    )
