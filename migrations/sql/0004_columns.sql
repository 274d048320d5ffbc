ALTER TABLE workers ADD COLUMN draining boolean DEFAULT false NOT NULL;
COMMENT ON COLUMN workers.draining IS 'asked to end after what is in hand';

ALTER TABLE run_shards ADD COLUMN claimed_at timestamp with time zone;
COMMENT ON COLUMN run_shards.claimed_at IS 'when the worker of this attempt took it';
