-- I13: what is posted was approved, and so by somebody else (share_runs_four_eyes_check).
ALTER TABLE share_runs ADD CONSTRAINT share_runs_approved_by_check CHECK (approved_digest IS NULL OR approved_by IS NOT NULL);
