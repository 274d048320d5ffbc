"""The rows of a service that has been at it for years: plans with their runs and claims, custodians with open breaks.

Written as sets, in seconds. Nothing of it was ever posted or read from a file: lists show rows, whoever wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Date, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.custodian.profile import load
from engine.custodian.registered import assign, register
from engine.plans import PlanRules
from engine.plans.calendar import debit_days
from engine.roster.plan import enter_plan

CUSTODIANS = ("alipay", "daikou-bank", "unionpay", "wechat")
RUNS_OF_A_PLAN = 200
"""Twice a month, for eight years."""

STATEMENT_DAYS = 365
PEOPLE = ("Chen", "Li", "Sun", "Wang", "Zhao")
ACTOR = "bench"

_DRAWN = timedelta(days=366 * 12)


@dataclass(frozen=True)
class Rows:
    """What the lists are of. `like`: the sealed run that every run's preview and solution are taken from."""

    breaks: int
    runs: int
    like: int
    today: date


async def bring_rows(engine: AsyncEngine, rows: Rows, rules: PlanRules) -> None:
    """Write them all, under plans with the rules of one, and have the planner know what there is."""
    count = max(1, rows.runs // RUNS_OF_A_PLAN)
    days = debit_days(rules, rows.today - _DRAWN, rows.today)
    async with engine.begin() as connection:
        values: dict[str, Any] = {
            "runs": rows.runs,
            "breaks": rows.breaks,
            "run_like": rows.like,
            "today": rows.today,
            "days": days,
            "plans": await _bring_plans(connection, rules, count),
            "people": list(PEOPLE),
            "statement_days": STATEMENT_DAYS,
        }
        for statement in _STATEMENTS:
            # Each takes the values that it names.
            bound = text(statement).bindparams(*[each for name, each in _TYPES.items() if f":{name}" in statement])
            await connection.execute(bound, {name: values[name] for name in bound.compile().params})
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("VACUUM (ANALYZE)"))


async def _bring_plans(connection: AsyncConnection, rules: PlanRules, count: int) -> list[int]:
    """Plans that go on, their money with one custodian after the other; their numbers."""
    for code in CUSTODIANS:
        await register(connection, load(code), actor=ACTOR)
    plan_ids = []
    for number in range(count):
        own = {"code": f"listed-{number + 1}", "name": f"{rules.name} {number + 1}"}
        plan = await enter_plan(
            connection, rules.model_copy(update=own | {"ends_on": None, "wind_down": None}), actor=ACTOR
        )
        await assign(connection, CUSTODIANS[number % len(CUSTODIANS)], plan.plan_id, actor=ACTOR)
        plan_ids.append(plan.plan_id)
    return plan_ids


_TYPES: dict[str, BindParameter[Any]] = {
    "plans": bindparam("plans", type_=ARRAY(BigInteger)),
    "days": bindparam("days", type_=ARRAY(Date)),
    "today": bindparam("today", type_=Date),
}

# One run a debit day and plan, in the order of the days; every tenth was given up, and planned again for the same day.
# Of a plan's last one each state that wants somebody, or a worker, is there.
_RUNS = """
INSERT INTO share_runs (plan_id, rules_version, debit_on, state, planned_by, approved_by, members, carry_in, ledger_seq,
    clip, pointers, sealed_pointers, solution, preview, preview_digest, approved_digest, previous_root, root, moments)
SELECT planned.plan_id, 1, planned.debit_on, planned.state, 'planner', CASE WHEN life > 4 THEN 'approver' END,
    members, carry_in, ledger_seq, clip, pointers, CASE WHEN life > 6 THEN sealed_pointers END,
    CASE WHEN life > 3 THEN solution END, CASE WHEN life > 3 THEN preview END,
    CASE WHEN life > 3 THEN preview_digest END, CASE WHEN life > 4 THEN preview_digest END,
    CASE WHEN life > 6 THEN previous_root END, CASE WHEN life > 6 THEN root END,
    (SELECT jsonb_object_agg(name, (planned.debit_on + place * interval '5 minutes') AT TIME ZONE 'UTC')
     FROM unnest(states) WITH ORDINALITY AS named (name, place) WHERE place <= life)
FROM (
    SELECT *, coalesce(array_position(states, state), 4) AS life FROM (
        SELECT *, (CAST(:days AS date[]))[cardinality(CAST(:days AS date[])) - (last - last / 10) + turn - turn / 10]
                AS debit_on,
            CASE WHEN turn = last
                THEN (ARRAY['posting', 'previewed', 'previewed', 'planned', 'collecting'])[1 + plan % 5]
                WHEN turn % 10 = 9 THEN (ARRAY['voided', 'failed'])[1 + plan % 2]
                WHEN turn = last - 1 THEN 'collecting' WHEN turn = last - 2 THEN 'settled' ELSE 'closed' END AS state,
            ARRAY['planned', 'frozen', 'measured', 'previewed', 'approved', 'posting', 'sealed', 'collecting',
                'settled', 'closed'] AS states
        FROM (
            SELECT number % among AS plan, number / among AS turn, (:runs - 1 - number % among) / among AS last,
                (CAST(:plans AS bigint[]))[1 + number % among] AS plan_id
            FROM generate_series(0, :runs - 1) AS number, cardinality(CAST(:plans AS bigint[])) AS among
        ) AS numbered
    ) AS dated
) AS planned, (SELECT * FROM share_runs WHERE run_id = :run_like) AS alike
ORDER BY turn, plan
"""

_RUN_SHARDS = """
INSERT INTO run_shards (shard_id, run_id, phase, state, attempt, roster_version, ledger_seq, seats, sharers,
    charged_minor, claimed_at, finished_at)
SELECT plan_id * 1000000 + number, run_id, CASE WHEN approved_by IS NULL THEN 'measure' ELSE 'post' END,
    CASE WHEN is_left THEN 'pending' ELSE 'done' END, 1, 1, 1, 65536, 65000, 6500000,
    debit_on + time '01:00', CASE WHEN NOT is_left THEN debit_on + time '01:01' END
FROM share_runs, generate_series(1, 10) AS number, LATERAL (SELECT state = 'posting' AND number > 6) AS left_ (is_left)
WHERE plan_id = ANY (CAST(:plans AS bigint[])) AND state <> 'planned'
"""

# Ten of each run that was not given up, and twelve of each plan that wait: to pass, to be published, for a run.
_CLAIMS = """
INSERT INTO claims (plan_id, number, shard_id, seat, diagnosed_on, filed_on, aid_minor, shared_minor, state, run_id)
SELECT plan_id, number, plan_id * 1000000 + 1, number, filed_on - 10, filed_on, 30000000,
    CASE WHEN state = 'shared' THEN 30000000 ELSE 0 END, state, run_id
FROM (
    SELECT plan_id, row_number() OVER (PARTITION BY plan_id ORDER BY run_id, place) AS number,
        debit_on - 30 AS filed_on,
        CASE WHEN state IN ('planned', 'previewed', 'posting') THEN 'sharing' ELSE 'shared' END AS state, run_id
    FROM share_runs, generate_series(1, 10) AS place
    WHERE plan_id = ANY (CAST(:plans AS bigint[])) AND state NOT IN ('voided', 'failed')
    UNION ALL
    SELECT plan_id, 1000000 + place, :today - (ARRAY[20, 5, 1])[1 + place % 3],
        (ARRAY['passed', 'published', 'filed'])[1 + place % 3], NULL
    FROM unnest(CAST(:plans AS bigint[])) AS plan_id, generate_series(1, 12) AS place
) AS drawn
ORDER BY filed_on, plan_id, number
"""

_NOTICES = """
INSERT INTO notices (claim_id, notice_on, ends_on)
SELECT claim_id, filed_on + 2, filed_on + 9 FROM claims
WHERE plan_id = ANY (CAST(:plans AS bigint[])) AND state <> 'filed'
"""

_RUN_CASES = """
INSERT INTO run_cases (run_id, number, claim_id, claim_number, aid_minor, gate_day, aid_paid_minor, fee_minor)
SELECT run_id, row_number() OVER (PARTITION BY run_id ORDER BY claim_id), claim_id, number, aid_minor,
    filed_on - date '2018-01-01', shared_minor, shared_minor / 12
FROM claims WHERE plan_id = ANY (CAST(:plans AS bigint[])) AND run_id IS NOT NULL
"""

_SCHEDULES = """
INSERT INTO schedules (plan_id, plans_at, set_by, set_at)
SELECT plan_id, time '09:00', 'planner', now() FROM unnest(CAST(:plans AS bigint[])) AS plan_id
"""

# What was proposed about breaks; every other one is done.
_DECISIONS = """
INSERT INTO decisions (plan_id, kind, subject, detail, effective_on, state, proposed_by, decided_by, outcome)
SELECT (CAST(:plans AS bigint[]))[1], 'resolution', 'custodian:alipay',
    '{"action": "explain", "reason": "listed", "number": 1, "amount_minor": 100, "suspense_minor": 100, "codes": ""}',
    :today, CASE WHEN is_done THEN 'done' ELSE 'proposed' END, 'Chen', CASE WHEN is_done THEN 'Wang' END,
    CASE WHEN is_done THEN '{"number": 1}'::jsonb END
FROM generate_series(1, 2 + :breaks / 500) AS number, LATERAL (SELECT number % 2 = 0) AS done (is_done)
"""

# The younger the more of them. Amounts go over six powers of ten; what is missing at the bank is on no statement.
_BREAKS_DRAWN = """
CREATE TEMPORARY TABLE drawn ON COMMIT DROP AS
SELECT number, custodian_id, plan_id, opened_on, code, on_statement, is_ours, state, amount_minor,
    CASE WHEN is_ours THEN (runs)[1 + number / among % cardinality(runs)] END AS run_id,
    row_number() OVER (PARTITION BY custodian_id, on_statement, opened_on ORDER BY number) AS place
FROM (
    SELECT number, among, (CAST(:plans AS bigint[]))[1 + number % among] AS plan_id,
        :today - CAST(floor((:statement_days - 1) * power(number * 7919 % 10007 / 10007.0, 2)) AS integer)
            AS opened_on,
        (ARRAY['MISSING_AT_BANK', 'MISSING_IN_LEDGER', 'AMOUNT_MISMATCH', 'DUPLICATE_AT_BANK',
            'RETURNED_AFTER_SETTLEMENT', 'UNKNOWN_REFERENCE', 'FEE_UNEXPECTED'])[1 + number * 104729 % 10009 % 7]
            AS code,
        (ARRAY['open', 'open', 'open', 'open', 'open', 'open', 'open', 'open', 'open', 'open', 'open', 'assigned',
            'assigned', 'assigned', 'assigned', 'proposed', 'resolved', 'resolved', 'resolved', 'written off']
            )[1 + number * 15485863 % 9973 % 20] AS state,
        CAST(10 ^ (3 + 6 * (number * 32452843 % 9967 / 9967.0)) AS bigint) AS amount_minor
    FROM generate_series(1::bigint, :breaks) AS number, cardinality(CAST(:plans AS bigint[])) AS among
) AS numbered
CROSS JOIN LATERAL (
    SELECT code <> 'MISSING_AT_BANK' AS on_statement,
        code NOT IN ('MISSING_IN_LEDGER', 'UNKNOWN_REFERENCE', 'FEE_UNEXPECTED') AS is_ours
) AS kinds
JOIN (
    SELECT plan_id, custodian_id, array_agg(run_id ORDER BY run_id) AS runs FROM plans JOIN share_runs USING (plan_id)
    GROUP BY plan_id
) AS held USING (plan_id)
"""

# One a day and custodian, each opening with what the one before closed with.
_STATEMENTS_TAKEN = """
INSERT INTO statements (custodian_id, sha256, number, file, message, identity, books, from_on, to_on, opening_minor,
    closing_minor, lines, credits_minor, debits_minor, state, tally, imported_by, taken_at)
SELECT custodian_id, sha256(convert_to(custodian_id || ':' || day, 'UTF8')), 1, 'statement-' || day || '.csv', 'listed',
    'S' || day, true, day, day, sum(amount) OVER before - amount, sum(amount) OVER before, count, amount, 0, 'taken',
    CASE WHEN count = 0 THEN '[]' ELSE jsonb_build_array(jsonb_build_object(
        'outcome', 'break', 'code', 'MISSING_IN_LEDGER', 'why', NULL, 'count', count, 'amount_minor', amount)) END,
    'bench', day + time '06:00'
FROM (
    SELECT held.custodian_id, day, count(number), coalesce(sum(amount_minor), 0) AS amount
    FROM (SELECT DISTINCT custodian_id FROM drawn) AS held
    CROSS JOIN (SELECT :today - ago AS day FROM generate_series(0, :statement_days - 1) AS ago) AS days
    LEFT JOIN drawn ON drawn.custodian_id = held.custodian_id AND opened_on = day AND on_statement
    GROUP BY held.custodian_id, day
) AS summed
WINDOW before AS (PARTITION BY custodian_id ORDER BY day)
ORDER BY day, custodian_id
"""

_LINES = """
INSERT INTO statement_lines (statement_id, ordinal, place, booked_on, value_on, amount_minor, reference, bank_reference,
    kind, charges_minor, count, outcome, code, stage)
SELECT statement_id, place, 'line ' || place, opened_on, opened_on, amount_minor,
    '#' || left(encode(sha256(convert_to('reference ' || drawn.number, 'UTF8')), 'hex'), 12),
    '#' || left(encode(sha256(convert_to('bank ' || drawn.number, 'UTF8')), 'hex'), 12),
    'debit', 0, 1, 'break', code, CASE WHEN is_ours THEN 1 ELSE 0 END
FROM drawn
JOIN statements ON statements.custodian_id = drawn.custodian_id AND from_on = opened_on AND message = 'listed'
WHERE on_statement
ORDER BY statement_id, place
"""

_BREAKS = """
INSERT INTO breaks (custodian_id, plan_id, code, statement_id, ordinal, run_id, kind, attempt, seat, amount_minor,
    suspense_minor, opened_on, state, assigned_to, decision_id, closed_on)
SELECT drawn.custodian_id, plan_id, code, CASE WHEN on_statement THEN statement_id END,
    CASE WHEN on_statement THEN place END, run_id,
    CASE WHEN is_ours THEN 'D' END, CASE WHEN is_ours THEN 1 END, CASE WHEN is_ours THEN drawn.number END,
    amount_minor, CASE WHEN on_statement THEN amount_minor ELSE 0 END, opened_on, drawn.state,
    CASE WHEN drawn.state <> 'open' THEN
        (CAST(:people AS text[]))[1 + drawn.number / 7 % cardinality(CAST(:people AS text[]))] END,
    CASE drawn.state WHEN 'proposed' THEN proposed[1 + drawn.number % cardinality(proposed)]
        WHEN 'written off' THEN done[1 + drawn.number % cardinality(done)] END,
    CASE WHEN drawn.state IN ('resolved', 'written off') THEN least(opened_on + 9, :today) END
FROM drawn
JOIN statements ON statements.custodian_id = drawn.custodian_id AND from_on = opened_on AND message = 'listed'
CROSS JOIN (
    SELECT array_agg(decision_id) FILTER (WHERE state = 'proposed') AS proposed,
        array_agg(decision_id) FILTER (WHERE state = 'done') AS done
    FROM decisions WHERE proposed_by = 'Chen'
) AS decided
ORDER BY opened_on, drawn.number
"""

_BREAK_EVENTS = """
INSERT INTO break_events (break_id, event, actor, reason, decision_id, happened_on)
SELECT break_id, event, assigned_to, 'listed', CASE WHEN event <> 'assign' THEN decision_id END, opened_on
FROM breaks, unnest(CASE state WHEN 'assigned' THEN ARRAY['assign'] WHEN 'proposed' THEN ARRAY['assign', 'propose']
    WHEN 'resolved' THEN ARRAY['assign', 'clear'] ELSE ARRAY['assign', 'propose', 'approve', 'write off'] END) AS event
WHERE plan_id = ANY (CAST(:plans AS bigint[])) AND state <> 'open'
"""

_STATEMENTS = (
    *(_RUNS, _RUN_SHARDS, _CLAIMS, _NOTICES, _RUN_CASES, _SCHEDULES),
    *(_DECISIONS, _BREAKS_DRAWN, _STATEMENTS_TAKEN, _LINES, _BREAKS, _BREAK_EVENTS),
)
