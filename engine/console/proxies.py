"""Where a request comes from: whoever is connected, or whom a proxy that we trust says it speaks for."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from aiohttp import web

from engine.settings import Settings, networks_of


def client_address(request: web.Request, settings: Settings) -> str:
    """The IP address that a request comes from; empty on a unix socket.

    Each proxy adds to the end of `X-Forwarded-For` who was connected to it, and anybody may write the rest. So it is
    read from its end, as long as the one who wrote is among `trusted_proxies`; the first who is not is whom we want.
    """
    address = request.remote or ""
    said = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    while said and _is_trusted(address, settings):
        address = said.pop().strip() or address
    return address


def _is_trusted(address: str, settings: Settings) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    if isinstance(known, IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return any(known in network for network in networks_of(settings.trusted_proxies))
