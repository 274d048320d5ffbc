-- Tables of the spine, frozen as they were in 0001; engine/store/tables.py declares today's.

CREATE TABLE audit_log (
    audit_id BIGINT GENERATED ALWAYS AS IDENTITY,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT audit_log_pkey PRIMARY KEY (audit_id)
);

CREATE TABLE members (
    plan_id BIGINT NOT NULL,
    shard_id BIGINT NOT NULL,
    seat INTEGER NOT NULL,
    ref_bucket SMALLINT NOT NULL,
    spell SMALLINT NOT NULL,
    member_ref TEXT COLLATE "C" NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (plan_id, member_ref, spell, ref_bucket)
);
COMMENT ON COLUMN members.seat IS 'dense inside the plan: shards.first_seat + position';
COMMENT ON COLUMN members.ref_bucket IS 'CRC-32 of the reference mod 64: what spreads the rows';
COMMENT ON COLUMN members.spell IS '1, 2, …: a person who re-joins takes a new seat';

CREATE TABLE plans (
    plan_id BIGINT GENERATED ALWAYS AS IDENTITY,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    currency TEXT NOT NULL,
    last_root BYTEA,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT plans_pkey PRIMARY KEY (plan_id),
    CONSTRAINT plans_code_key UNIQUE (code)
);
COMMENT ON COLUMN plans.last_root IS 'the latest seal, which the next one covers';

CREATE TABLE roster_changes (
    shard_id BIGINT NOT NULL,
    change_id BIGINT GENERATED ALWAYS AS IDENTITY,
    seat INTEGER NOT NULL,
    kind TEXT NOT NULL,
    from_day INTEGER NOT NULL,
    until_day INTEGER,
    tier SMALLINT,
    import_id BIGINT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT roster_changes_pkey PRIMARY KEY (shard_id, change_id),
    CONSTRAINT roster_changes_kind_check CHECK (kind IN ('join', 'exit', 'freeze'))
);
COMMENT ON COLUMN roster_changes.from_day IS 'join: shares from; exit: first day not covered; freeze: from';
COMMENT ON COLUMN roster_changes.until_day IS 'join: the wait ends, claims from; freeze: first day not frozen';
COMMENT ON COLUMN roster_changes.tier IS 'join';

CREATE TABLE run_shards (
    shard_id BIGINT NOT NULL,
    run_id BIGINT NOT NULL,
    phase TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER DEFAULT 0 NOT NULL,
    failures INTEGER DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    worker TEXT,
    error TEXT,
    roster_version INTEGER NOT NULL,
    ledger_seq BIGINT NOT NULL,
    histogram BYTEA,
    waived_histogram BYTEA,
    seats INTEGER NOT NULL,
    sharers BIGINT,
    charged_minor BIGINT,
    waived_minor BIGINT,
    waived_seats BIGINT,
    pointers JSONB,
    root BYTEA,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT run_shards_pkey PRIMARY KEY (shard_id, run_id),
    CONSTRAINT run_shards_phase_check CHECK (phase IN ('measure', 'post', 'reverse')),
    CONSTRAINT run_shards_state_check CHECK (state IN ('pending', 'working', 'done', 'failed'))
);
CREATE INDEX run_shards_run_index ON run_shards (run_id, phase, state);
COMMENT ON COLUMN run_shards.attempt IS 'rises in a phase: it fences a claim';
COMMENT ON COLUMN run_shards.failures IS 'of this phase, until a retry';
COMMENT ON COLUMN run_shards.ledger_seq IS 'seq of the shard at freeze';
COMMENT ON COLUMN run_shards.waived_histogram IS 'of the seats whose share the sponsor pays';
COMMENT ON COLUMN run_shards.pointers IS 'tier → seat after the last odd unit given here';
COMMENT ON COLUMN run_shards.root IS 'Merkle root of the shard''s leaves';

CREATE TABLE workers (
    worker TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    shard_id BIGINT,
    memory_mib INTEGER,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    beat_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT workers_pkey PRIMARY KEY (worker)
);
COMMENT ON COLUMN workers.shard_id IS 'the shard in hand';

CREATE TABLE accounts (
    account_id BIGINT NOT NULL,
    plan_id BIGINT NOT NULL,
    unit SMALLINT NOT NULL,
    code SMALLINT NOT NULL,
    name TEXT NOT NULL,
    control BOOLEAN NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (account_id),
    CONSTRAINT accounts_id_check CHECK (account_id = plan_id * 1000000 + unit * 10000 + code),
    CONSTRAINT accounts_control_check CHECK (control = (code % 10 = 0)),
    CONSTRAINT accounts_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);

CREATE TABLE imports (
    import_id BIGINT GENERATED ALWAYS AS IDENTITY,
    plan_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    rows BIGINT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT imports_pkey PRIMARY KEY (import_id),
    CONSTRAINT imports_file_key UNIQUE (plan_id, kind, sha256),
    CONSTRAINT imports_kind_check CHECK (kind IN ('roster', 'changes')),
    CONSTRAINT imports_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);

CREATE TABLE plan_rules (
    plan_id BIGINT NOT NULL,
    version INTEGER NOT NULL,
    digest BYTEA NOT NULL,
    rules JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT plan_rules_pkey PRIMARY KEY (plan_id, version),
    CONSTRAINT plan_rules_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);

CREATE TABLE shards (
    shard_id BIGINT NOT NULL,
    plan_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    first_seat BIGINT NOT NULL,
    seats INTEGER NOT NULL,
    seq BIGINT DEFAULT 0 NOT NULL,
    head BYTEA DEFAULT ''::bytea NOT NULL,
    CONSTRAINT shards_pkey PRIMARY KEY (shard_id),
    CONSTRAINT shards_id_check CHECK (shard_id = plan_id * 1000000 + number),
    CONSTRAINT shards_seats_check CHECK (seats BETWEEN 0 AND 65536),
    CONSTRAINT shards_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);

CREATE TABLE share_runs (
    run_id BIGINT GENERATED ALWAYS AS IDENTITY,
    plan_id BIGINT NOT NULL,
    rules_version INTEGER NOT NULL,
    debit_on DATE NOT NULL,
    state TEXT NOT NULL,
    paused BOOLEAN DEFAULT false NOT NULL,
    planned_by TEXT NOT NULL,
    approved_by TEXT,
    freeze_expires_at TIMESTAMP WITH TIME ZONE,
    members BIGINT,
    carry_in BIGINT,
    ledger_seq BIGINT,
    clip BIGINT,
    pointers JSONB,
    sealed_pointers JSONB,
    solution BYTEA,
    preview JSONB,
    preview_digest BYTEA,
    approved_digest BYTEA,
    previous_root BYTEA,
    root BYTEA,
    void_root BYTEA,
    moments JSONB DEFAULT '{}'::jsonb NOT NULL,
    failure TEXT,
    CONSTRAINT share_runs_pkey PRIMARY KEY (run_id),
    CONSTRAINT share_runs_four_eyes_check CHECK (approved_by IS NULL OR (lower(approved_by) <> lower(planned_by) AND btrim(approved_by) <> '')),
    CONSTRAINT share_runs_state_check CHECK (state IN ('planned', 'frozen', 'measured', 'previewed', 'approved', 'posting', 'sealed', 'voiding', 'voided', 'failed')),
    CONSTRAINT share_runs_approved_preview_check CHECK (approved_digest IS NULL OR approved_digest = preview_digest),
    CONSTRAINT share_runs_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id)
);
CREATE UNIQUE INDEX share_runs_period_key ON share_runs (plan_id, debit_on) WHERE state NOT IN ('voided', 'failed');
COMMENT ON COLUMN share_runs.members IS 'seats of the frozen shards';
COMMENT ON COLUMN share_runs.carry_in IS 'minor units, pinned at freeze';
COMMENT ON COLUMN share_runs.ledger_seq IS 'seq of the plan''s shard 0 at freeze';
COMMENT ON COLUMN share_runs.clip IS 'allowances above it are measured as it; NULL: none is clipped';
COMMENT ON COLUMN share_runs.pointers IS 'tier → seat where the rotation of odd units stands, pinned at freeze';
COMMENT ON COLUMN share_runs.sealed_pointers IS 'where the rotation stands after this run';
COMMENT ON COLUMN share_runs.solution IS 'canonical JSON of the apportionment, compressed';
COMMENT ON COLUMN share_runs.void_root IS 'the seal of the mirrored postings of a voided run';
COMMENT ON COLUMN share_runs.moments IS 'state → when it began';

CREATE TABLE claims (
    claim_id BIGINT GENERATED ALWAYS AS IDENTITY,
    plan_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    shard_id BIGINT NOT NULL,
    seat INTEGER NOT NULL,
    diagnosed_on DATE NOT NULL,
    filed_on DATE NOT NULL,
    aid_minor BIGINT NOT NULL,
    state TEXT NOT NULL,
    run_id BIGINT,
    CONSTRAINT claims_pkey PRIMARY KEY (claim_id),
    CONSTRAINT claims_number_key UNIQUE (plan_id, number),
    CONSTRAINT claims_aid_check CHECK (aid_minor > 0),
    CONSTRAINT claims_state_check CHECK (state IN ('filed', 'published', 'passed', 'sharing', 'shared', 'rejected', 'withdrawn')),
    CONSTRAINT claims_run_check CHECK ((run_id IS NOT NULL) = (state IN ('sharing', 'shared'))),
    CONSTRAINT claims_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id),
    CONSTRAINT claims_run_fkey FOREIGN KEY(run_id) REFERENCES share_runs (run_id)
);
COMMENT ON COLUMN claims.number IS '1, 2, … inside the plan: its position in aid payable';
COMMENT ON COLUMN claims.run_id IS 'the run that carries it';

CREATE TABLE balances (
    shard_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    as_of_seq BIGINT NOT NULL,
    amounts BIGINT[] NOT NULL,
    CONSTRAINT balances_pkey PRIMARY KEY (shard_id, account_id),
    CONSTRAINT balances_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);

CREATE TABLE claim_events (
    claim_id BIGINT NOT NULL,
    event_id BIGINT GENERATED ALWAYS AS IDENTITY,
    event TEXT NOT NULL,
    happened_on DATE NOT NULL,
    actor TEXT NOT NULL,
    detail JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT claim_events_pkey PRIMARY KEY (claim_id, event_id),
    CONSTRAINT claim_events_claim_fkey FOREIGN KEY(claim_id) REFERENCES claims (claim_id)
);

CREATE TABLE journals (
    shard_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    kind TEXT NOT NULL,
    run_id BIGINT,
    effective_on DATE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    prev_digest BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    accounts BIGINT[] NOT NULL,
    amounts BIGINT[] NOT NULL,
    CONSTRAINT journals_pkey PRIMARY KEY (shard_id, seq),
    CONSTRAINT journals_idempotency_key UNIQUE (shard_id, idempotency_key),
    CONSTRAINT journals_balanced_check CHECK (journal_is_balanced(shard_id, accounts, amounts)),
    CONSTRAINT journals_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);
CREATE INDEX journals_run_index ON journals (run_id);

CREATE TABLE member_columns (
    shard_id BIGINT NOT NULL,
    born_on BYTEA NOT NULL,
    member_refs TEXT NOT NULL,
    tags BYTEA NOT NULL,
    CONSTRAINT member_columns_pkey PRIMARY KEY (shard_id),
    CONSTRAINT member_columns_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);
COMMENT ON COLUMN member_columns.born_on IS 'day numbers, little-endian int32';
COMMENT ON COLUMN member_columns.member_refs IS 'one a line, in seat order';
COMMENT ON COLUMN member_columns.tags IS '16 bytes a seat: what stands for its member in a proof';

CREATE TABLE notices (
    claim_id BIGINT NOT NULL,
    notice_on DATE NOT NULL,
    ends_on DATE NOT NULL,
    CONSTRAINT notices_pkey PRIMARY KEY (claim_id),
    CONSTRAINT notices_length_check CHECK (ends_on > notice_on),
    CONSTRAINT notices_claim_fkey FOREIGN KEY(claim_id) REFERENCES claims (claim_id)
);
COMMENT ON COLUMN notices.notice_on IS 'its 00:00 is the gate of the case';
COMMENT ON COLUMN notices.ends_on IS 'the first day after the notice';

CREATE TABLE objections (
    claim_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    raised_on DATE NOT NULL,
    reason TEXT NOT NULL,
    resolved_on DATE,
    resolution TEXT,
    CONSTRAINT objections_pkey PRIMARY KEY (claim_id, number),
    CONSTRAINT objections_resolution_check CHECK ((resolved_on IS NULL) = (resolution IS NULL)),
    CONSTRAINT objections_claim_fkey FOREIGN KEY(claim_id) REFERENCES claims (claim_id)
);

CREATE TABLE roster (
    shard_id BIGINT NOT NULL,
    version INTEGER NOT NULL,
    shares_from BYTEA NOT NULL,
    claims_from BYTEA NOT NULL,
    ended_on BYTEA NOT NULL,
    frozen_from BYTEA,
    frozen_to BYTEA,
    tier BYTEA NOT NULL,
    folded_through BIGINT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT roster_pkey PRIMARY KEY (shard_id, version),
    CONSTRAINT roster_lengths_check CHECK (
        octet_length(claims_from) = octet_length(shares_from) AND octet_length(ended_on) = octet_length(shares_from)
        AND 2 * octet_length(tier) = octet_length(shares_from) AND (frozen_from IS NULL) = (frozen_to IS NULL)
        AND coalesce(octet_length(frozen_from), octet_length(shares_from)) = octet_length(shares_from)
        AND coalesce(octet_length(frozen_to), octet_length(shares_from)) = octet_length(shares_from)
    ),
    CONSTRAINT roster_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);
COMMENT ON COLUMN roster.frozen_from IS 'NULL: no seat of the shard was ever frozen';
COMMENT ON COLUMN roster.folded_through IS 'the last roster_changes.change_id in this version';

CREATE TABLE run_cases (
    run_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    claim_id BIGINT NOT NULL,
    claim_number INTEGER NOT NULL,
    aid_minor BIGINT NOT NULL,
    gate_day INTEGER NOT NULL,
    cap_minor BIGINT,
    aid_paid_minor BIGINT,
    fee_minor BIGINT,
    CONSTRAINT run_cases_pkey PRIMARY KEY (run_id, number),
    CONSTRAINT run_cases_claim_key UNIQUE (run_id, claim_id),
    CONSTRAINT run_cases_run_fkey FOREIGN KEY(run_id) REFERENCES share_runs (run_id),
    CONSTRAINT run_cases_claim_fkey FOREIGN KEY(claim_id) REFERENCES claims (claim_id)
);
COMMENT ON COLUMN run_cases.number IS 'filing order inside the run';

CREATE TABLE year_usage (
    shard_id BIGINT NOT NULL,
    year INTEGER NOT NULL,
    as_of_seq BIGINT NOT NULL,
    amounts BIGINT[] NOT NULL,
    CONSTRAINT year_usage_pkey PRIMARY KEY (shard_id, year),
    CONSTRAINT year_usage_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);

CREATE TABLE posting_segments (
    shard_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    positions INTEGER[],
    amounts BIGINT[] NOT NULL,
    total BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    CONSTRAINT posting_segments_pkey PRIMARY KEY (shard_id, seq, account_id),
    CONSTRAINT posting_segments_journal_fkey FOREIGN KEY(shard_id, seq) REFERENCES journals (shard_id, seq),
    CONSTRAINT posting_segments_sound_check CHECK (segment_is_sound(positions, amounts, total))
);
COMMENT ON COLUMN posting_segments.positions IS 'NULL: dense from the shard''s first seat';
