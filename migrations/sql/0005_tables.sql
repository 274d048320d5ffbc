-- The console: who is signed in, who failed to, and who was handed a link to a member's shares.

CREATE TABLE sessions (
    digest BYTEA NOT NULL,
    token_id BIGINT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (digest),
    CONSTRAINT sessions_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT sessions_token_fkey FOREIGN KEY(token_id) REFERENCES api_tokens (token_id)
);
COMMENT ON COLUMN sessions.digest IS 'SHA-256 of the secret in the cookie, which nobody keeps';

CREATE TABLE sign_in_attempts (
    digest BYTEA NOT NULL,
    failures INTEGER NOT NULL,
    last_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT sign_in_attempts_pkey PRIMARY KEY (digest)
);
COMMENT ON COLUMN sign_in_attempts.digest IS 'SHA-256 of a name and of the network that tries it';
COMMENT ON COLUMN sign_in_attempts.failures IS 'in a row, those under way with them';
CREATE INDEX sign_in_attempts_failed_index ON sign_in_attempts (last_failed_at);

CREATE TABLE share_links (
    digest BYTEA NOT NULL,
    plan_id BIGINT NOT NULL,
    seat INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    viewer_digest BYTEA,
    message_id BIGINT,
    CONSTRAINT share_links_pkey PRIMARY KEY (digest),
    CONSTRAINT share_links_viewer_key UNIQUE (viewer_digest),
    CONSTRAINT share_links_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT share_links_used_check CHECK ((used_at IS NULL) = (viewer_digest IS NULL)),
    CONSTRAINT share_links_plan_fkey FOREIGN KEY(plan_id) REFERENCES plans (plan_id),
    CONSTRAINT share_links_message_fkey FOREIGN KEY(message_id) REFERENCES outbox (message_id)
);
COMMENT ON COLUMN share_links.digest IS 'SHA-256 of the secret in the link, good for one use';
COMMENT ON COLUMN share_links.viewer_digest IS 'SHA-256 of the secret in the cookie of who opened the link';
CREATE INDEX share_links_seat_index ON share_links (plan_id, seat, created_at);
CREATE INDEX share_links_created_index ON share_links (created_at);
