ALTER TABLE api_tokens ADD COLUMN password_hash text;
COMMENT ON COLUMN api_tokens.password_hash IS 'argon2id; NULL: whoever holds it signs in with the token alone';

COMMENT ON COLUMN webhooks.events IS 'run.sealed, run.settled, run.closed, break.opened, share.requested';
