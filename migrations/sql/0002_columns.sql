ALTER TABLE plans ADD COLUMN ended_on DATE;
COMMENT ON COLUMN plans.ended_on IS 'the books are closed; NULL while the plan lives';

ALTER TABLE roster ADD COLUMN next_tier BYTEA;
ALTER TABLE roster ADD COLUMN next_tier_from BYTEA;
ALTER TABLE roster ADD COLUMN payer BYTEA;
ALTER TABLE roster ALTER COLUMN next_tier SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN next_tier_from SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN payer SET STORAGE EXTERNAL;
COMMENT ON COLUMN roster.next_tier IS 'chosen, and not yet in force; NULL: nobody of the shard chose one';
COMMENT ON COLUMN roster.next_tier_from IS 'the debit day from which next_tier weighs; 0: none was chosen';
COMMENT ON COLUMN roster.payer IS 'seat of the family payer, int32, -1: the member; NULL: nobody has one';

ALTER TABLE roster_changes ADD COLUMN payer INTEGER;
ALTER TABLE roster_changes ADD COLUMN reason TEXT;
ALTER TABLE roster_changes ALTER COLUMN import_id DROP NOT NULL;
COMMENT ON COLUMN roster_changes.from_day IS
    'join: shares from; exit: first day not covered; freeze: from; tier: weighs from; payer: chosen on';
COMMENT ON COLUMN roster_changes.until_day IS
    'join: the wait ends, claims from; freeze: first day not frozen; tier: claims go by it from';
COMMENT ON COLUMN roster_changes.tier IS 'join, tier';
COMMENT ON COLUMN roster_changes.payer IS 'join, payer: the seat that pays; NULL: the member';
COMMENT ON COLUMN roster_changes.reason IS 'the rule that made it, such as age or floor; NULL: it was asked for';
COMMENT ON COLUMN roster_changes.import_id IS 'the file it came in; NULL: a rule made it';

ALTER TABLE claims ADD COLUMN severity TEXT;
ALTER TABLE claims ADD COLUMN due_minor BIGINT;
ALTER TABLE claims ADD COLUMN stage_on DATE;
ALTER TABLE claims ADD COLUMN shared_minor BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE claims ADD COLUMN recovered_minor BIGINT DEFAULT 0 NOT NULL;
COMMENT ON COLUMN claims.aid_minor IS 'the whole aid, over all its stages';
COMMENT ON COLUMN claims.due_minor IS 'of it, so far; the next run carries what was not shared yet; NULL: all';
COMMENT ON COLUMN claims.stage_on IS 'the notice day of a later stage, its gate; NULL: that of the notice';
COMMENT ON COLUMN claims.shared_minor IS 'in sealed runs';
COMMENT ON COLUMN claims.recovered_minor IS 'paid wrongly, and back';

ALTER TABLE share_runs ADD COLUMN kind TEXT DEFAULT 'share' NOT NULL;
ALTER TABLE share_runs ADD COLUMN surplus JSONB;
COMMENT ON COLUMN share_runs.debit_on IS 'of a credit run the day members are credited';
COMMENT ON COLUMN share_runs.surplus IS 'credit run: premiums, claims, costs and where they come from';

ALTER TABLE run_cases ALTER COLUMN claim_id DROP NOT NULL;
ALTER TABLE run_cases ALTER COLUMN claim_number DROP NOT NULL;
COMMENT ON COLUMN run_cases.claim_id IS 'NULL: a credit run''s surplus';

ALTER TABLE run_shards ADD COLUMN cap_histograms BYTEA;
COMMENT ON COLUMN run_shards.cap_histograms IS 'by cap, where several make the allowance: which of them stops whom';

-- Runs sealed before stages were known shared the whole aid of their claims.
UPDATE claims SET shared_minor = aid_minor WHERE state = 'shared';
