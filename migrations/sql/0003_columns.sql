ALTER TABLE plans ADD COLUMN custodian_id bigint;
COMMENT ON COLUMN plans.custodian_id IS 'who holds its money; NULL: nobody yet, and nothing can be debited';

ALTER TABLE plans ADD COLUMN locked_through date;
COMMENT ON COLUMN plans.locked_through IS 'nothing is posted on this day or before; NULL: no period is locked';
