-- One amount of a stored array, by its place from 1. A subscript fetches the whole array to read one element (0.14 ms for
-- a full shard); an array without NULLs stores element n at byte 13 + 8n, and a bytes function fetches just that page of it
-- (0.005 ms). That takes a superuser and a little-endian server to set up; elsewhere the subscript stays.
CREATE FUNCTION amount_at(amounts bigint[], place integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT amounts[place]';

-- A whole array as bytes, which the COPY codec decodes. Sending an array calls a function for each element (7 ms for a full
-- shard of the roster); as it is stored it is a header and its elements already, and a bytes function hands it out as it
-- lies (0.5 ms). The same conditions hold.
CREATE FUNCTION packed(elements anyarray) RETURNS bytea
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS 'SELECT array_send(elements)';
DO $$
BEGIN
    CREATE FUNCTION array_bytes(amounts bigint[], start integer, length integer) RETURNS bytea
    LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bytea_substr';
    CREATE OR REPLACE FUNCTION amount_at(amounts bigint[], place integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT reverse(array_bytes(amounts, 13 + 8 * place, 8))::bigint';
    ASSERT amount_at('{1,-2,9223372036854775807}', 2) = -2, 'this server stores arrays otherwise';
    CREATE OR REPLACE FUNCTION packed(elements anyarray) RETURNS bytea
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'byteasend';
    ASSERT packed('{1,-2}'::smallint[]) = '\x0100000000000000150000000200000001000000' || '\x0100feff'::bytea,
        'this server stores arrays otherwise';
EXCEPTION WHEN insufficient_privilege OR assert_failure OR undefined_function OR cannot_coerce THEN
    RAISE NOTICE 'amount_at reads whole arrays, packed sends element by element: %', SQLERRM;
END
$$;

-- The public read surface for finance. These may be slow; they must be right.

CREATE VIEW journal_lines AS
SELECT journals.shard_id, journals.seq, journals.kind, journals.run_id, journals.effective_on,
    line.ordinal AS line, line.account AS account_id, line.amount
FROM journals, unnest(journals.accounts, journals.amounts) WITH ORDINALITY AS line (account, amount, ordinal);

-- A row per entry of a subledger: a seat of a member account, or a claim number of aid payable (shard number 0).
CREATE VIEW ledger_entries AS
SELECT segment.shard_id, segment.seq, journals.kind, journals.run_id, journals.effective_on, segment.account_id,
    shards.first_seat + coalesce(segment.positions[entry.ordinal], entry.ordinal - 1) AS seat, entry.amount
FROM posting_segments AS segment
JOIN journals USING (shard_id, seq)
JOIN shards USING (shard_id)
CROSS JOIN unnest(segment.amounts) WITH ORDINALITY AS entry (amount, ordinal)
WHERE entry.amount <> 0;

CREATE VIEW trial_balance AS
SELECT accounts.plan_id, accounts.account_id, accounts.unit, accounts.code, accounts.name,
    greatest(sums.balance, 0) AS debit, greatest(-sums.balance, 0) AS credit, sums.balance
FROM (SELECT account_id, sum(amount) AS balance FROM journal_lines GROUP BY account_id) AS sums
JOIN accounts USING (account_id);

CREATE VIEW member_statement AS
SELECT members.member_ref, entries.*
FROM ledger_entries AS entries
JOIN members USING (shard_id, seat);

-- I5, per sealed run: charged + sponsor + carry in = aid + fee + carry out, read from the posted journals alone.
CREATE VIEW run_tie_out AS
SELECT posted.*, posted.charged + posted.sponsor + posted.carry_in AS money_in,
    posted.aid + posted.fee + posted.carry_out AS money_out
FROM (
    SELECT share_runs.run_id, share_runs.plan_id, share_runs.debit_on,
        coalesce(sum(line.amount) FILTER (WHERE line.account_id % 10000 = 1210), 0) AS charged,
        coalesce(sum(line.amount) FILTER (WHERE line.account_id % 10000 IN (1310, 1311)), 0) AS sponsor,
        share_runs.carry_in,
        coalesce(-sum(line.amount) FILTER (WHERE line.account_id % 10000 = 2210), 0) AS aid,
        coalesce(-sum(line.amount) FILTER (WHERE line.account_id % 10000 = 4111), 0) AS fee,
        share_runs.carry_in - coalesce(sum(line.amount) FILTER (WHERE line.account_id % 10000 = 2311), 0) AS carry_out
    FROM share_runs
    JOIN journal_lines AS line USING (run_id)
    WHERE share_runs.state = 'sealed'
    GROUP BY share_runs.run_id
) AS posted;
