-- A locked period stays as it was proved: what comes late is posted in the open one.
CREATE FUNCTION refuse_locked_period() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    locked date;
BEGIN
    SELECT locked_through INTO locked FROM plans WHERE plan_id = new.shard_id / 1000000;
    IF new.effective_on <= locked THEN
        RAISE EXCEPTION 'the books of plan % are locked through %: % cannot be posted on %',
            new.shard_id / 1000000, locked, new.idempotency_key, new.effective_on
            USING ERRCODE = 'restrict_violation', HINT = 'post it on the first open day';
    END IF;
    RETURN new;
END
$$;

CREATE TRIGGER journals_open_period BEFORE INSERT ON journals FOR EACH ROW EXECUTE FUNCTION refuse_locked_period();
