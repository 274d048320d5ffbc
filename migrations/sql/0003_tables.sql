-- What is asked of custodians, what they say happened, and what of it is not explained.

CREATE TABLE custodians (
    custodian_id BIGINT GENERATED ALWAYS AS IDENTITY,
    code TEXT NOT NULL,
    profile JSONB NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT custodians_pkey PRIMARY KEY (custodian_id),
    CONSTRAINT custodians_code_key UNIQUE (code)
);

CREATE TABLE account_tokens (
    shard_id BIGINT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    blob BYTEA NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT account_tokens_pkey PRIMARY KEY (shard_id, version),
    CONSTRAINT account_tokens_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);
COMMENT ON COLUMN account_tokens.key_id IS 'which key opens it; never the key';
COMMENT ON COLUMN account_tokens.blob IS 'AES-GCM of fixed-width account and mandate of every seat';

CREATE TABLE attempts (
    run_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    attempt SMALLINT NOT NULL,
    plan_id BIGINT NOT NULL,
    custodian_id BIGINT NOT NULL,
    debit_on DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    made_by TEXT NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (run_id, kind, attempt),
    CONSTRAINT attempts_kind_check CHECK (kind IN ('D', 'R', 'P', 'A', 'L')),
    CONSTRAINT attempts_attempt_check CHECK (attempt BETWEEN 1 AND 35),
    CONSTRAINT attempts_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id),
    CONSTRAINT attempts_custodian_fkey FOREIGN KEY(custodian_id) REFERENCES custodians (custodian_id)
);
COMMENT ON COLUMN attempts.run_id IS 'of refunds the decision, of A and L the call';
COMMENT ON COLUMN attempts.kind IS 'D, R, P, A, L: the first letter of its references';
COMMENT ON COLUMN attempts.debit_on IS 'the day the custodian is asked to book it';
COMMENT ON COLUMN attempts.created_at IS 'stands in its files, which stay the same';

CREATE TABLE debit_batches (
    batch_id BIGINT GENERATED ALWAYS AS IDENTITY,
    run_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    attempt SMALLINT NOT NULL,
    number INTEGER NOT NULL,
    reference TEXT NOT NULL,
    file TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    bytes BIGINT NOT NULL,
    count BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    error TEXT,
    due_at TIMESTAMP WITH TIME ZONE,
    sent_at TIMESTAMP WITH TIME ZONE,
    sent_on DATE,
    withdrawn_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT debit_batches_pkey PRIMARY KEY (batch_id),
    CONSTRAINT debit_batches_number_key UNIQUE (run_id, kind, attempt, number),
    CONSTRAINT debit_batches_reference_key UNIQUE (reference),
    CONSTRAINT debit_batches_attempt_fkey FOREIGN KEY (run_id, kind, attempt)
        REFERENCES attempts (run_id, kind, attempt),
    CONSTRAINT debit_batches_sent_check CHECK ((sent_at IS NULL) = (sent_on IS NULL)),
    CONSTRAINT debit_batches_withdrawn_check CHECK (sent_at IS NULL OR withdrawn_at IS NULL)
);
COMMENT ON COLUMN debit_batches.number IS 'of its own reference, in place of a seat';
COMMENT ON COLUMN debit_batches.error IS 'of the last try that failed';
COMMENT ON COLUMN debit_batches.due_at IS 'not tried before; NULL: as soon as the custodian takes it';
COMMENT ON COLUMN debit_batches.sent_at IS 'NULL: it waits to be sent';
COMMENT ON COLUMN debit_batches.sent_on IS 'in the custodian''s time zone';
COMMENT ON COLUMN debit_batches.withdrawn_at IS 'it missed its cut-off, and its debits are asked anew';

CREATE INDEX debit_batches_waiting_index ON debit_batches (batch_id) WHERE sent_at IS NULL;

CREATE TABLE instruction_events (
    shard_id BIGINT NOT NULL,
    event_id BIGINT GENERATED ALWAYS AS IDENTITY,
    run_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    attempt SMALLINT NOT NULL,
    state SMALLINT NOT NULL,
    source TEXT NOT NULL,
    batch_id BIGINT,
    reason TEXT,
    positions INTEGER[],
    amounts BIGINT[],
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT instruction_events_pkey PRIMARY KEY (shard_id, event_id),
    CONSTRAINT instruction_events_source_key UNIQUE NULLS NOT DISTINCT
        (shard_id, run_id, kind, attempt, state, source, reason),
    CONSTRAINT instruction_events_kind_check CHECK (kind IN ('D', 'R', 'P', 'A', 'L')),
    CONSTRAINT instruction_events_state_check CHECK (state BETWEEN 1 AND 9),
    CONSTRAINT instruction_events_batch_check CHECK ((state = 1) = (batch_id IS NOT NULL)),
    CONSTRAINT instruction_events_lengths_check CHECK (
        amounts IS NULL OR (positions IS NOT NULL AND cardinality(amounts) = cardinality(positions))
    ),
    CONSTRAINT instruction_events_shard_fkey FOREIGN KEY(shard_id) REFERENCES shards (shard_id)
);
COMMENT ON COLUMN instruction_events.run_id IS 'of refunds the decision, of A and L the call';
COMMENT ON COLUMN instruction_events.state IS 'engine.custodian.instructions.State';
COMMENT ON COLUMN instruction_events.source IS 'what says so: batch:3, statement:5, decision:9, rule:unpaid';
COMMENT ON COLUMN instruction_events.batch_id IS 'asked for in this file; it is sent once the file is';
COMMENT ON COLUMN instruction_events.reason IS 'the custodian''s code, of what came back';
COMMENT ON COLUMN instruction_events.positions IS 'in the shard, of payouts claims'' numbers; NULL: all the run charged';
COMMENT ON COLUMN instruction_events.amounts IS 'asked, or let go, of each; NULL: what the run charged';

CREATE TABLE statements (
    statement_id BIGINT GENERATED ALWAYS AS IDENTITY,
    custodian_id BIGINT NOT NULL,
    sha256 BYTEA NOT NULL,
    number INTEGER NOT NULL,
    file TEXT NOT NULL,
    message TEXT NOT NULL,
    identity TEXT NOT NULL,
    sequence BIGINT,
    books BOOLEAN NOT NULL,
    from_on DATE,
    to_on DATE,
    opening_minor BIGINT,
    closing_minor BIGINT,
    lines BIGINT NOT NULL,
    credits_minor BIGINT NOT NULL,
    debits_minor BIGINT NOT NULL,
    ids BYTEA,
    state TEXT NOT NULL,
    problems JSONB DEFAULT '[]'::jsonb NOT NULL,
    tally JSONB DEFAULT '[]'::jsonb NOT NULL,
    imported_by TEXT NOT NULL,
    taken_at TIMESTAMP WITH TIME ZONE,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT statements_pkey PRIMARY KEY (statement_id),
    CONSTRAINT statements_file_key UNIQUE (custodian_id, sha256, number),
    CONSTRAINT statements_state_check CHECK (state IN ('parked', 'taken')),
    CONSTRAINT statements_taken_check CHECK ((state = 'taken') = (taken_at IS NOT NULL)),
    CONSTRAINT statements_ties_check CHECK (
        state = 'parked' OR opening_minor IS NULL OR closing_minor IS NULL
        OR opening_minor + credits_minor - debits_minor = closing_minor
    ),
    CONSTRAINT statements_custodian_fkey FOREIGN KEY(custodian_id) REFERENCES custodians (custodian_id)
);
COMMENT ON COLUMN statements.sha256 IS 'of the file, which is kept under it';
COMMENT ON COLUMN statements.number IS '1, 2, … in the file';
COMMENT ON COLUMN statements.file IS 'its name as it came, for people';
COMMENT ON COLUMN statements.identity IS 'the file''s own name of the statement';
COMMENT ON COLUMN statements.sequence IS 'its number, where it has one';
COMMENT ON COLUMN statements.books IS 'false: it only informs, and posts nothing';
COMMENT ON COLUMN statements.ids IS 'SHA-256 of what its lines'' own references come to';
COMMENT ON COLUMN statements.problems IS 'why it is parked';
COMMENT ON COLUMN statements.tally IS 'lines and sums by outcome';
COMMENT ON COLUMN statements.taken_at IS 'when it was posted; NULL: it is parked';

CREATE TABLE statement_lines (
    statement_id BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    place TEXT NOT NULL,
    booked_on DATE,
    value_on DATE,
    amount_minor BIGINT NOT NULL,
    reference TEXT,
    batch_reference TEXT,
    bank_reference TEXT,
    kind TEXT NOT NULL,
    reason TEXT,
    original_minor BIGINT,
    charges_minor BIGINT NOT NULL,
    count BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT,
    stage SMALLINT NOT NULL,
    decided_by BIGINT,
    CONSTRAINT statement_lines_pkey PRIMARY KEY (statement_id, ordinal),
    CONSTRAINT statement_lines_statement_fkey FOREIGN KEY(statement_id) REFERENCES statements (statement_id),
    CONSTRAINT statement_lines_outcome_check CHECK (outcome IN ('matched', 'break', 'pending', 'ignored')),
    CONSTRAINT statement_lines_code_check CHECK ((code IS NOT NULL) = (outcome = 'break'))
);
COMMENT ON COLUMN statement_lines.place IS 'in the file: line 17, entry 3';
COMMENT ON COLUMN statement_lines.amount_minor IS 'credits positive';
COMMENT ON COLUMN statement_lines.code IS 'of a break';
COMMENT ON COLUMN statement_lines.stage IS 'engine.custodian.verdicts.Stage';
COMMENT ON COLUMN statement_lines.decided_by IS 'the later statement that decided what was pending';

CREATE INDEX statement_lines_pending_index ON statement_lines (statement_id)
    WHERE outcome = 'pending' OR (outcome = 'break' AND stage = 7);

CREATE TABLE breaks (
    break_id BIGINT GENERATED ALWAYS AS IDENTITY,
    custodian_id BIGINT NOT NULL,
    plan_id BIGINT NOT NULL,
    code TEXT NOT NULL,
    statement_id BIGINT,
    ordinal BIGINT,
    run_id BIGINT,
    kind TEXT,
    attempt SMALLINT,
    seat BIGINT,
    amount_minor BIGINT NOT NULL,
    suspense_minor BIGINT NOT NULL,
    opened_on DATE NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    assigned_to TEXT,
    decision_id BIGINT,
    closed_on DATE,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT breaks_pkey PRIMARY KEY (break_id),
    CONSTRAINT breaks_statement_fkey FOREIGN KEY(statement_id) REFERENCES statements (statement_id),
    CONSTRAINT breaks_line_key UNIQUE (statement_id, ordinal, code),
    CONSTRAINT breaks_state_check CHECK (
        state IN ('open', 'assigned', 'proposed', 'approved', 'resolved', 'written off')
    ),
    CONSTRAINT breaks_closed_check CHECK ((closed_on IS NOT NULL) = (state IN ('resolved', 'written off'))),
    CONSTRAINT breaks_custodian_fkey FOREIGN KEY(custodian_id) REFERENCES custodians (custodian_id),
    CONSTRAINT breaks_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id),
    CONSTRAINT breaks_decision_fkey FOREIGN KEY(decision_id) REFERENCES decisions (decision_id)
);
COMMENT ON COLUMN breaks.statement_id IS 'NULL: what is on no statement';
COMMENT ON COLUMN breaks.ordinal IS 'of its line; NULL: it is about the whole statement';
COMMENT ON COLUMN breaks.run_id IS 'with kind, attempt, seat: the instruction it is about; NULL: none known';
COMMENT ON COLUMN breaks.seat IS 'of payouts the claim''s number, of batches the file''s';
COMMENT ON COLUMN breaks.amount_minor IS 'what is not explained, as the account books it';
COMMENT ON COLUMN breaks.suspense_minor IS 'what of it stands on suspense until it is resolved';

CREATE UNIQUE INDEX breaks_missing_key ON breaks (run_id, kind, attempt, seat) WHERE code = 'MISSING_AT_BANK';

CREATE INDEX breaks_queue_index ON breaks (custodian_id, state, code, break_id);

CREATE INDEX breaks_run_index ON breaks (run_id, kind, seat);

CREATE TABLE break_events (
    break_id BIGINT NOT NULL,
    event_id BIGINT GENERATED ALWAYS AS IDENTITY,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    comment TEXT DEFAULT '' NOT NULL,
    decision_id BIGINT,
    happened_on DATE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT break_events_pkey PRIMARY KEY (break_id, event_id),
    CONSTRAINT break_events_break_fkey FOREIGN KEY(break_id) REFERENCES breaks (break_id)
);

CREATE TRIGGER instruction_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON instruction_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER break_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON break_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attempts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE instruction_events ALTER COLUMN positions SET STORAGE EXTERNAL;
ALTER TABLE instruction_events ALTER COLUMN amounts SET STORAGE EXTERNAL;
ALTER TABLE account_tokens ALTER COLUMN blob SET STORAGE EXTERNAL;
