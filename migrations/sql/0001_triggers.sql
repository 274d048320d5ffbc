-- I4: what is written in the ledger stays. Corrections are new journals.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused [I4]', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'post a correcting journal instead';
END
$$;

-- I2: every line on a control account (its code ends in 0) has exactly one segment of equal total, no other line has one.
CREATE FUNCTION tie_journal_to_segments() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    loose bigint;
BEGIN
    SELECT coalesce(line.account, segment.account_id) INTO loose
    FROM (
        SELECT account, amount FROM unnest(new.accounts, new.amounts) AS line (account, amount) WHERE account % 10 = 0
    ) AS line
    FULL JOIN (
        SELECT account_id, total FROM posting_segments WHERE shard_id = new.shard_id AND seq = new.seq
    ) AS segment ON segment.account_id = line.account
    WHERE segment.total IS DISTINCT FROM line.amount
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal % of shard %: line and segment of account % do not agree [I2]', new.seq, new.shard_id, loose
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION tie_segment_to_journal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1
    FROM journals, unnest(journals.accounts, journals.amounts) AS line (account, amount)
    WHERE journals.shard_id = new.shard_id AND journals.seq = new.seq
        AND line.account = new.account_id AND line.amount = new.total AND new.account_id % 10 = 0;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'segment of account % has no equal line in journal % of shard % [I2]',
            new.account_id, new.seq, new.shard_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER journals_tied_to_segments AFTER INSERT ON journals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tie_journal_to_segments();
CREATE TRIGGER posting_segments_tied_to_journal AFTER INSERT ON posting_segments
    FOR EACH ROW EXECUTE FUNCTION tie_segment_to_journal();

CREATE TRIGGER journals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_segments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON posting_segments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER claim_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON claim_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER roster_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON roster_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER plan_rules_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_rules
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Arrays of money and days go out of line uncompressed: pglz took 1.6 s for what external storage writes in 0.1 s.
ALTER TABLE posting_segments ALTER COLUMN amounts SET STORAGE EXTERNAL;
ALTER TABLE posting_segments ALTER COLUMN positions SET STORAGE EXTERNAL;
ALTER TABLE balances ALTER COLUMN amounts SET STORAGE EXTERNAL;
ALTER TABLE year_usage ALTER COLUMN amounts SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN shares_from SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN claims_from SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN ended_on SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN frozen_from SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN frozen_to SET STORAGE EXTERNAL;
ALTER TABLE roster ALTER COLUMN tier SET STORAGE EXTERNAL;
ALTER TABLE member_columns ALTER COLUMN born_on SET STORAGE EXTERNAL;
ALTER TABLE member_columns ALTER COLUMN member_refs SET STORAGE EXTERNAL;
ALTER TABLE member_columns ALTER COLUMN tags SET STORAGE EXTERNAL;
