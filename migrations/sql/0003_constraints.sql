ALTER TABLE plans ADD CONSTRAINT plans_custodian_fkey FOREIGN KEY (custodian_id) REFERENCES custodians (custodian_id);

ALTER TABLE share_runs DROP CONSTRAINT share_runs_state_check;
ALTER TABLE share_runs ADD CONSTRAINT share_runs_state_check CHECK (
    state IN (
        'planned', 'frozen', 'measured', 'previewed', 'approved', 'posting', 'sealed', 'collecting', 'settled', 'closed',
        'voiding', 'voided', 'failed'
    )
);
