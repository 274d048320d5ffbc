"""What pages take of the API: a view as it is answered, and every plan for a choice."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from engine.api.fields import LIMIT_MAX
from engine.api.plans import PlanPart, list_of_plans
from engine.console.visits import Visit


def shown(view: BaseModel) -> dict[str, Any]:
    """A view of the API as it is answered: money as decimal text."""
    return view.model_dump(mode="json")


async def plans_of(visit: Visit) -> list[dict[str, Any]]:
    """Every plan, for a choice."""
    return [shown(plan) for plan in (await list_of_plans(visit.call, PlanPart(limit=LIMIT_MAX))).items]
