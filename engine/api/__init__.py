"""The HTTP API: endpoints declared once, from which the routes, the specification and the roles are made."""
