-- Whoever signs in with a name and a password means one token.
CREATE UNIQUE INDEX api_tokens_password_index ON api_tokens (name) WHERE password_hash IS NOT NULL AND revoked_at IS NULL;
-- The claims that somebody works on are few of all there ever were; a claim's page asks which runs carried it.
CREATE INDEX claims_state_index ON claims (state, claim_id);
CREATE INDEX run_cases_claim_index ON run_cases (claim_id);
-- A proof asks for the lines that wait, or once waited, of all that ever were a break.
CREATE INDEX statement_lines_waited_index ON statement_lines (statement_id)
    WHERE outcome = 'pending' OR decided_by IS NOT NULL;
-- It also asks, custodian by custodian, which breaks were open on each of its days: of no other column of theirs.
CREATE INDEX breaks_days_index ON breaks (custodian_id, closed_on, opened_on)
    INCLUDE (code, amount_minor, suspense_minor);
-- Whoever has breaks to see to has few of all there ever were.
CREATE INDEX breaks_assigned_index ON breaks (assigned_to, state) WHERE assigned_to IS NOT NULL;
-- And most runs are closed: those under way are a dozen.
CREATE INDEX share_runs_state_index ON share_runs (state, run_id);
