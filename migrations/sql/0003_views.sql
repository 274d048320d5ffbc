-- I5, per sealed run, read from the posted journals alone: charged + sponsor + carry in = aid + fee + carry out.
-- Members are charged on what they owe or, prepaid, on what they paid in. A credit run turns it round: the surplus that
-- its seal takes out of the reserve, and what was carried in, is what members are given and what is carried on, in its
-- unit. What is posted beside a run (what made its surplus, corrections) is not of it.
CREATE OR REPLACE VIEW run_tie_out AS
SELECT posted.*, posted.charged + posted.sponsor + posted.carry_in AS money_in,
    posted.aid + posted.fee + posted.carry_out AS money_out
FROM (
    SELECT share_runs.run_id, share_runs.plan_id, share_runs.debit_on,
        coalesce(sum(line.amount) FILTER (
            WHERE CASE share_runs.kind WHEN 'credit' THEN line.account_id % 10000 = 2511
                ELSE line.account_id % 10000 IN (1210, 2110) END
        ), 0) AS charged,
        coalesce(sum(line.amount) FILTER (WHERE line.account_id % 10000 IN (1310, 1311)), 0) AS sponsor,
        share_runs.carry_in,
        coalesce(-sum(line.amount) FILTER (
            WHERE line.account_id % 10000 IN (2120, 2210, 2410)
        ), 0) AS aid,
        coalesce(-sum(line.amount) FILTER (WHERE line.account_id % 10000 = 4111), 0) AS fee,
        share_runs.carry_in - coalesce(sum(line.amount) FILTER (WHERE line.account_id % 10000 = 2311), 0) AS carry_out
    FROM share_runs
    JOIN journal_lines AS line USING (run_id)
    WHERE share_runs.state IN ('sealed', 'collecting', 'settled', 'closed') AND line.kind IN ('charge', 'seal')
    GROUP BY share_runs.run_id
) AS posted;
