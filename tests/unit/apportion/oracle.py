"""A slow, exact oracle: worlds member by member, in fractions, straight from the definitions of DESIGN §5.

It shares no code with the engine and knows nothing of classes, histograms, shards or arrays.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

HALF = Fraction(1, 2)

ROUND: dict[str, Callable[[Fraction], int]] = {
    "up": math.ceil,
    "half_up": lambda value: math.floor(value + HALF),
    "down": math.floor,
    "exact": math.floor,
}


def answer(world: dict[str, Any]) -> dict[str, Any]:
    """What `fentan apportion` should answer to a world with members."""
    least = world.get("floor", world["rules"].get("floor"))
    result = run(world) if least is None else rounds(world, least)
    result["waived_total"] = sum(result["charges"][seat] for seat in set(world.get("waived", [])))
    result["pointer"] = {str(tier): position for tier, position in sorted(result["pointer"].items())}
    return {"name": world.get("name", ""), **result}


def rounds(world: dict[str, Any], least: int) -> dict[str, Any]:
    """Each case on the balances the one before left; who is below the floor is frozen."""
    members, cases = [dict(member) for member in world["members"]], world["cases"]
    total: dict[str, Any] = {
        "charges": [0] * len(members),
        "sponsor": 0,
        "carry_out": world.get("carry_in", 0),
        "aids": [0] * len(cases),
        "fees": [0] * len(cases),
        "pointer": {int(tier): position for tier, position in world.get("pointer", {}).items()},
    }
    for number in sorted(range(len(cases)), key=lambda number: (cases[number]["gate"], number)):
        frozen = [
            {**member, "frozen": member["frozen"] or (member["allowance"] is not None and member["allowance"] < least)}
            for member in members
        ]
        one = {**world, "members": frozen, "cases": [cases[number]], "carry_in": total["carry_out"]}
        result = run({**one, "pointer": total["pointer"]})
        for member, charge in zip(members, result["charges"], strict=True):
            if member["allowance"] is not None:
                member["allowance"] -= charge
        total["charges"] = [paid + charge for paid, charge in zip(total["charges"], result["charges"], strict=True)]
        total["sponsor"] += result["sponsor"]
        total["aids"][number], total["fees"][number] = result["aids"][0], result["fees"][0]
        total["carry_out"], total["pointer"] = result["carry_out"], result["pointer"]
    return total


def covers(member: dict[str, Any], gate: int) -> bool:
    between = member.get("frozen_from", 0) <= gate < member.get("frozen_to", 0)
    return bool(member["shares_from"] <= gate < member["ended_on"] and not member["frozen"] and not between)


def split(total: int, parts: list[int]) -> list[int]:
    """cumfloor(t; parts)."""
    whole, result = sum(parts), []
    for number in range(len(parts)):
        low, high = sum(parts[:number]), sum(parts[: number + 1])
        result.append(
            math.floor(Fraction(total * high, whole)) - math.floor(Fraction(total * low, whole)) if whole else 0
        )
    return result


def cap_of(rules: dict[str, Any], case: dict[str, Any], weight: int) -> int | None:
    cap: int | None = case["cap"]
    if cap is None or rules["cap_basis"] == "head":
        return cap
    return math.floor(Fraction(cap * weight, rules["cap_unit"]))


def run(world: dict[str, Any]) -> dict[str, Any]:
    """One apportionment of all cases of a world."""
    rules, cases, members = world["rules"], world["cases"], world["members"]
    carry_in, fee_rate = world.get("carry_in", 0), Fraction(rules["fee"])

    def fee(aid: int) -> int:
        return math.floor(fee_rate * aid + HALF)

    costs = [case["aid"] + fee(case["aid"]) for case in cases]
    used = min(carry_in, sum(costs))
    burdens = [cost - relief for cost, relief in zip(costs, split(used, costs), strict=True)]
    weights = [rules["weights"][member["tier"]] for member in members]
    sharers = [[seat for seat, each in enumerate(members) if covers(each, case["gate"])] for case in cases]
    redistributes = rules["over_cap"] == "redistribute"
    drawn = pour(world, burdens, weights, sharers) if redistributes else ask(world, burdens, weights, sharers)
    shares, taken, own = drawn
    pool, short = sum(burdens), math.ceil(sum(burdens) - sum(taken))
    charges = [ROUND[rules["rounding"]](value) for value in taken]
    pointer = {int(tier): position for tier, position in world.get("pointer", {}).items()}
    if rules["rounding"] == "exact":
        pointer = deal(world, shares, taken, charges, pointer)
    surplus = sum(charges) + short - pool
    if surplus < 0:
        short, surplus = short - surplus, 0
    first = rules.get("surplus_first")
    if rules["over_cap"] != "sponsor" if first is None else first:
        short, surplus = short - min(short, surplus), surplus - min(short, surplus)
    bearer = rules["fallback"] if redistributes else rules["over_cap"]
    aids, left_over, sponsor = [case["aid"] for case in cases], 0, short
    if bearer == "reduce_aid":
        sponsor = 0
        cuts = [math.floor(value) for value in own]
        if sum(cuts) > short:
            cuts = split(short, cuts)
        rest = split(short - sum(cuts), [cost - cut for cost, cut in zip(costs, cuts, strict=True)])
        for number, cost in enumerate(costs):
            left = cost - cuts[number] - rest[number]
            aids[number] = largest(left, aids[number], fee)
            left_over += left - aids[number] - fee(aids[number])
    return {
        "charges": charges,
        "sponsor": sponsor,
        "carry_out": carry_in - used + surplus + left_over,
        "aids": aids,
        "fees": [fee(aid) for aid in aids],
        "pointer": pointer,
    }


def largest(left: int, aid: int, fee: Callable[[int], int]) -> int:
    """The largest aid up to `aid` with aid + fee ≤ left, by bisection."""
    low, high = 0, aid
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle + fee(middle) <= left else (low, middle - 1)
    return low


Drawn = tuple[list[Fraction], list[Fraction], list[Fraction]]
"""By seat what is asked and what is taken, by case its own shortfall."""


def limits(world: dict[str, Any]) -> list[Fraction | None]:
    return [None if member["allowance"] is None else Fraction(member["allowance"]) for member in world["members"]]


def ask(world: dict[str, Any], burdens: list[int], weights: list[int], sharers: list[list[int]]) -> Drawn:
    """s = min(B·w/W, q), T = min(S, allowance)."""
    asked, own = [Fraction(0)] * len(weights), []
    for case, burden, seats in zip(world["cases"], burdens, sharers, strict=True):
        whole, placed = sum(weights[seat] for seat in seats), Fraction(0)
        for seat in seats if whole else []:
            share, cap = Fraction(burden * weights[seat], whole), cap_of(world["rules"], case, weights[seat])
            share = share if cap is None else min(share, Fraction(cap))
            asked[seat] += share
            placed += share
        own.append(burden - placed)
    rooms = limits(world)
    return asked, [s if room is None else min(s, room) for s, room in zip(asked, rooms, strict=True)], own


def pour(world: dict[str, Any], burdens: list[int], weights: list[int], sharers: list[list[int]]) -> Drawn:
    """Case by case in (gate, index) order: everyone pays at the pace of their weight until they can no more."""
    rooms, taken = limits(world), [Fraction(0)] * len(weights)
    own = [Fraction(0)] * len(burdens)
    for number in sorted(range(len(burdens)), key=lambda number: (world["cases"][number]["gate"], number)):
        case, left = world["cases"][number], Fraction(burdens[number])
        weighing = [seat for seat in sharers[number] if weights[seat]]
        most: dict[int, Fraction | None] = {}
        for seat in weighing:
            cap = cap_of(world["rules"], case, weights[seat])
            room = rooms[seat]
            options = [Fraction(cap)] if cap is not None else []
            options += [room - taken[seat]] if room is not None else []
            most[seat] = min(options, default=None)
        caps = [cap_of(world["rules"], case, weights[seat]) for seat in weighing]
        own[number] = max(Fraction(0), left - sum(cap for cap in caps if cap is not None))
        if weighing and case["cap"] is None:
            own[number] = Fraction(0)
        paid = dict.fromkeys(weighing, Fraction(0))
        while left:
            active = [seat for seat in weighing if most[seat] is None or paid[seat] < most[seat]]  # type: ignore[operator]
            if not active:
                break
            steps = [left / sum(weights[seat] for seat in active)]
            for seat in active:
                bound = most[seat]
                if bound is not None:
                    steps.append((bound - paid[seat]) / weights[seat])
            for seat in active:
                paid[seat] += min(steps) * weights[seat]
                left -= min(steps) * weights[seat]
        for seat, amount in paid.items():
            taken[seat] += amount
    return taken, taken, own


def deal(
    world: dict[str, Any], asked: list[Fraction], taken: list[Fraction], charges: list[int], pointer: dict[int, int]
) -> dict[int, int]:
    """Odd units: to groups by cumulative rounding from a seeded start, inside a group cyclic from the pointer."""
    gates = sorted({case["gate"] for case in world["cases"]})
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for seat, member in enumerate(world["members"]):
        covered = [index for index, gate in enumerate(gates) if covers(member, gate)]
        if covered:
            missing = [index for index in range(covered[0], covered[-1]) if index not in covered] or [0]
            kind = (covered[0], covered[-1], missing[0], missing[-1])
            groups.setdefault((member["tier"], kind), []).append(seat)
    order = sorted(groups)
    if not order:
        return pointer
    start = int(hashlib.sha256(bytes.fromhex(world.get("seed_hex", ""))).hexdigest(), 16) % len(order)
    reached, last = Fraction(0), dict[int, tuple[bool, int]]()
    for group in order[start:] + order[:start]:
        tier, allowances = group[0], {seat: world["members"][seat]["allowance"] for seat in groups[group]}
        opened = [seat for seat, allowance in allowances.items() if allowance is None or taken[seat] < allowance]
        before = math.floor(reached)
        reached += sum(taken[seat] - math.floor(taken[seat]) for seat in opened)
        cyclic = sorted(((seat < pointer.get(tier, 0)), seat) for seat in opened)
        for wrapped, seat in cyclic[: math.floor(reached) - before]:
            charges[seat] += 1
            last[tier] = max(last.get(tier, (False, -1)), (wrapped, seat))
    return pointer | {tier: seat + 1 for tier, (_, seat) in last.items()}
