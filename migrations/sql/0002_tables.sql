CREATE TABLE decisions (
    decision_id BIGINT GENERATED ALWAYS AS IDENTITY,
    plan_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail JSONB NOT NULL,
    effective_on DATE NOT NULL,
    state TEXT DEFAULT 'proposed' NOT NULL,
    proposed_by TEXT NOT NULL,
    decided_by TEXT,
    outcome JSONB,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT decisions_pkey PRIMARY KEY (decision_id),
    CONSTRAINT decisions_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id),
    CONSTRAINT decisions_state_check CHECK (state IN ('proposed', 'done', 'refused')),
    CONSTRAINT decisions_decided_check CHECK ((decided_by IS NULL) = (state = 'proposed')),
    CONSTRAINT decisions_four_eyes_check CHECK (
        state <> 'done' OR (lower(decided_by) <> lower(proposed_by) AND btrim(decided_by) <> '')
    )
);
COMMENT ON COLUMN decisions.kind IS 'what is to be done: correction, recovery, …';
COMMENT ON COLUMN decisions.subject IS 'what it is about: run:7, claim:3, plan:quark';
COMMENT ON COLUMN decisions.detail IS 'all that doing it needs; ids and amounts, never names';
COMMENT ON COLUMN decisions.outcome IS 'what doing it came to, or why it was refused';

CREATE TABLE skipped_slots (
    plan_id BIGINT NOT NULL,
    debit_on DATE NOT NULL,
    reason TEXT NOT NULL,
    skipped_by TEXT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT skipped_slots_pkey PRIMARY KEY (plan_id, debit_on),
    CONSTRAINT skipped_slots_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);
