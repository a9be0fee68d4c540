-- The feed's tables. There are no foreign keys: each insert would take a key-share lock on its parent's row, so that
-- every reaction to a hot post would write that post's tuple again. The statements check existence themselves.

CREATE TABLE users (
    id integer PRIMARY KEY,
    handle text NOT NULL,
    -- Kept beside the account because the push-or-pull decision needs it for every post.
    follower_count integer NOT NULL DEFAULT 0 CHECK (follower_count >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE follows (
    follower_id integer NOT NULL,
    followee_id integer NOT NULL,
    -- "Whom do I follow": rebuilding a timeline.
    PRIMARY KEY (follower_id, followee_id),
    CHECK (follower_id <> followee_id)
);
-- "Who follows me": fan-out, answered from the index alone and in order.
CREATE UNIQUE INDEX follows_by_followee ON follows (followee_id, follower_id);

CREATE TABLE posts (
    -- Given by the client, so that both sides of a comparison speak of the same posts.
    id bigint PRIMARY KEY,
    author_id integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body text NOT NULL
);
CREATE INDEX posts_by_author ON posts (author_id, id DESC);

CREATE TABLE reactions (
    post_id bigint NOT NULL,
    user_id integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (post_id, user_id)
);

-- One row per post that no message has been published for yet, written in the post's own transaction.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id bigint NOT NULL,
    author_id integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
