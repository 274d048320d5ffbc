-- Whoever signs in with a name and a password means one token.
CREATE UNIQUE INDEX api_tokens_password_index ON api_tokens (name) WHERE password_hash IS NOT NULL AND revoked_at IS NULL;
