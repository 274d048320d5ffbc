ALTER TABLE roster DROP CONSTRAINT roster_lengths_check;
ALTER TABLE roster ADD CONSTRAINT roster_lengths_check CHECK (
    octet_length(claims_from) = octet_length(shares_from) AND octet_length(ended_on) = octet_length(shares_from)
    AND 2 * octet_length(tier) = octet_length(shares_from) AND (frozen_from IS NULL) = (frozen_to IS NULL)
    AND coalesce(octet_length(frozen_from), octet_length(shares_from)) = octet_length(shares_from)
    AND coalesce(octet_length(frozen_to), octet_length(shares_from)) = octet_length(shares_from)
    AND (next_tier IS NULL) = (next_tier_from IS NULL)
    AND coalesce(octet_length(next_tier), octet_length(tier)) = octet_length(tier)
    AND coalesce(octet_length(next_tier_from), octet_length(shares_from)) = octet_length(shares_from)
    AND coalesce(octet_length(payer), octet_length(shares_from)) = octet_length(shares_from)
);

ALTER TABLE roster_changes DROP CONSTRAINT roster_changes_kind_check;
ALTER TABLE roster_changes ADD CONSTRAINT roster_changes_kind_check
    CHECK (kind IN ('join', 'exit', 'freeze', 'tier', 'payer'));
ALTER TABLE roster_changes ADD CONSTRAINT roster_changes_origin_check
    CHECK ((import_id IS NULL) = (reason IS NOT NULL));

ALTER TABLE imports DROP CONSTRAINT imports_kind_check;
ALTER TABLE imports ADD CONSTRAINT imports_kind_check CHECK (kind IN ('roster', 'changes', 'top-ups'));

ALTER TABLE claims ADD CONSTRAINT claims_shared_check CHECK (shared_minor BETWEEN 0 AND aid_minor);
ALTER TABLE claims ADD CONSTRAINT claims_due_check CHECK (due_minor BETWEEN greatest(shared_minor, 1) AND aid_minor);
ALTER TABLE claims ADD CONSTRAINT claims_recovered_check CHECK (recovered_minor BETWEEN 0 AND shared_minor);

ALTER TABLE share_runs ADD CONSTRAINT share_runs_kind_check CHECK (kind IN ('share', 'credit'));
ALTER TABLE share_runs ADD CONSTRAINT share_runs_surplus_check CHECK ((kind = 'credit') = (surplus IS NOT NULL));

ALTER TABLE run_cases ADD CONSTRAINT run_cases_claim_check CHECK ((claim_id IS NULL) = (claim_number IS NULL));
