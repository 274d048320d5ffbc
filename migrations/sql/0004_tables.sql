-- The API: tokens, answers under idempotency keys, webhooks, queues, jobs, and what is planned by the clock.

CREATE TABLE api_tokens (
    token_id BIGINT GENERATED ALWAYS AS IDENTITY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scopes TEXT[],
    digest BYTEA NOT NULL,
    issued_by TEXT NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoked_by TEXT,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (token_id),
    CONSTRAINT api_tokens_role_check CHECK (role IN ('viewer', 'scheduler', 'finance', 'ops', 'approver', 'admin')),
    CONSTRAINT api_tokens_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT api_tokens_revoked_check CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
COMMENT ON COLUMN api_tokens.name IS 'the person or machine that holds it: who decides, in the audit log';
COMMENT ON COLUMN api_tokens.scopes IS 'runs:read, runs:write, …; NULL: all that the role may';
COMMENT ON COLUMN api_tokens.digest IS 'SHA-256 of the token, which nobody keeps';
COMMENT ON COLUMN api_tokens.last_used_at IS 'to the minute';

CREATE TABLE idempotency_keys (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    request BYTEA NOT NULL,
    status INTEGER NOT NULL,
    headers JSONB NOT NULL,
    body BYTEA NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (actor, key)
);
COMMENT ON COLUMN idempotency_keys.actor IS 'whose key: two callers may choose the same';
COMMENT ON COLUMN idempotency_keys.request IS 'SHA-256 of method, path and body: what was asked under it';

CREATE TABLE webhooks (
    webhook_id BIGINT GENERATED ALWAYS AS IDENTITY,
    url TEXT NOT NULL,
    events TEXT[] NOT NULL,
    made_by TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhooks_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT webhooks_events_check CHECK (cardinality(events) > 0)
);
COMMENT ON COLUMN webhooks.events IS 'run.sealed, run.settled, run.closed, break.opened';
COMMENT ON COLUMN webhooks.ended_at IS 'told of nothing any more';

CREATE TABLE outbox (
    message_id BIGINT GENERATED ALWAYS AS IDENTITY,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (message_id)
);
COMMENT ON COLUMN outbox.subject IS 'what it is about: run:7';
COMMENT ON COLUMN outbox.detail IS 'ids and counts; never amounts of members, never people';

CREATE TABLE deliveries (
    message_id BIGINT NOT NULL,
    webhook_id BIGINT NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT deliveries_pkey PRIMARY KEY (message_id, webhook_id),
    CONSTRAINT deliveries_state_check CHECK (state IN ('waiting', 'delivered', 'failed')),
    CONSTRAINT deliveries_ended_check CHECK ((ended_at IS NULL) = (state = 'waiting')),
    CONSTRAINT deliveries_message_fkey FOREIGN KEY(message_id) REFERENCES outbox (message_id),
    CONSTRAINT deliveries_webhook_fkey FOREIGN KEY(webhook_id) REFERENCES webhooks (webhook_id)
);
COMMENT ON COLUMN deliveries.due_at IS 'not tried before; NULL: as soon as somebody can';
COMMENT ON COLUMN deliveries.error IS 'of the last try that failed';
CREATE INDEX deliveries_waiting_index ON deliveries (webhook_id, message_id) WHERE state = 'waiting';
CREATE INDEX deliveries_webhook_index ON deliveries (webhook_id, message_id);
CREATE INDEX deliveries_state_index ON deliveries (state, ended_at);

CREATE TABLE queues (
    queue TEXT NOT NULL,
    paused_at TIMESTAMP WITH TIME ZONE,
    paused_by TEXT,
    reason TEXT,
    CONSTRAINT queues_pkey PRIMARY KEY (queue),
    CONSTRAINT queues_paused_by_check CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
    CONSTRAINT queues_reason_check CHECK ((paused_at IS NULL) = (reason IS NULL))
);
COMMENT ON COLUMN queues.paused_at IS 'NULL: it is worked on';

CREATE TABLE jobs (
    job_id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail JSONB NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    tries INTEGER DEFAULT 0 NOT NULL,
    outcome JSONB,
    error TEXT,
    CONSTRAINT jobs_pkey PRIMARY KEY (job_id),
    CONSTRAINT jobs_state_check CHECK (state IN ('queued', 'done', 'failed')),
    CONSTRAINT jobs_ended_check CHECK ((ended_at IS NULL) = (state = 'queued'))
);
COMMENT ON COLUMN jobs.subject IS 'what it is about: plan:quark, custodian:generic-csv, run:7';
COMMENT ON COLUMN jobs.detail IS 'all that doing it needs; ids and file names, never names';
COMMENT ON COLUMN jobs.started_at IS 'of the last try';
COMMENT ON COLUMN jobs.tries IS 'how often somebody began it';
COMMENT ON COLUMN jobs.outcome IS 'what it came to';
COMMENT ON COLUMN jobs.error IS 'why it was refused, or failed';
CREATE INDEX jobs_state_index ON jobs (state, ended_at);

CREATE TABLE schedules (
    plan_id BIGINT NOT NULL,
    plans_at TIME WITHOUT TIME ZONE NOT NULL,
    set_by TEXT NOT NULL,
    set_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    tried_at TIMESTAMP WITH TIME ZONE,
    refusal TEXT,
    CONSTRAINT schedules_pkey PRIMARY KEY (plan_id),
    CONSTRAINT schedules_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);
COMMENT ON COLUMN schedules.plans_at IS 'the time of a debit day, in the plan''s zone, to plan its run';
COMMENT ON COLUMN schedules.set_by IS 'in whose name its runs are planned';
COMMENT ON COLUMN schedules.tried_at IS 'when a slot was last tried and refused';
COMMENT ON COLUMN schedules.refusal IS 'why; NULL once a run was planned';
