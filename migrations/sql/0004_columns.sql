ALTER TABLE workers ADD COLUMN draining boolean DEFAULT false NOT NULL;
COMMENT ON COLUMN workers.draining IS 'asked to end after what is in hand';
