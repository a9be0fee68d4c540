"""What the API calls on the primary: two procedures.

A procedure may commit half-way, so that one round trip inserts, commits and returns a log position that lies behind the
commit record; a position taken before the commit would not. (psycopg's pipeline mode takes one round trip too, and
costs the client twice the CPU.)
"""

from __future__ import annotations

from psycopg import AsyncConnection

COMMIT_LSN = """(CASE
        WHEN pg_is_in_recovery() THEN '0/0'
        WHEN current_setting('synchronous_commit') = 'off' THEN pg_current_wal_insert_lsn()
        ELSE pg_current_wal_flush_lsn()
    END - '0/0'::pg_lsn)::bigint"""
"""SQL: a log position that every transaction visible now lies before; 0 on a standby.

The flush position suffices, for a commit becomes visible after its flush. Without that wait (synchronous_commit off)
only the insert position is safe, although a standby may reach it late.
"""

PROCEDURES = f"""
-- outcome: 0 created, 1 the author's post was there already, 2 the id belongs to somebody else's, 3 no such author.
CREATE OR REPLACE PROCEDURE create_post(
    post bigint, author integer, content text, INOUT outcome integer, INOUT created_us bigint, INOUT lsn bigint
) LANGUAGE plpgsql AS $$
DECLARE
    created timestamptz := clock_timestamp();
    owner integer;
    inserted integer;
BEGIN
    WITH new AS (
        INSERT INTO posts (id, author_id, created_at, body)
        SELECT post, users.id, created, content FROM users WHERE users.id = author
        ON CONFLICT (id) DO NOTHING
        RETURNING posts.id, posts.author_id
    )
    INSERT INTO outbox (post_id, author_id, created_at) SELECT new.id, new.author_id, created FROM new;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    outcome := 0;
    IF inserted = 0 THEN
        SELECT posts.author_id, posts.created_at INTO owner, created FROM posts WHERE posts.id = post;
        outcome := CASE WHEN owner IS NULL THEN 3 WHEN owner = author THEN 1 ELSE 2 END;
    END IF;
    created_us := extract(epoch FROM created) * 1000000;
    COMMIT;
    lsn := {COMMIT_LSN};
END
$$;

-- outcome: 0 the reaction is new, 1 it was there already, 2 no such post, 3 no such user.
CREATE OR REPLACE PROCEDURE react(
    post bigint, who integer, INOUT outcome integer, INOUT lsn bigint
) LANGUAGE plpgsql AS $$
DECLARE
    inserted integer;
BEGIN
    INSERT INTO reactions (post_id, user_id)
    SELECT posts.id, users.id FROM posts, users WHERE posts.id = post AND users.id = who
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    outcome := 0;
    IF inserted = 0 THEN
        outcome := CASE
            WHEN NOT EXISTS (SELECT FROM posts WHERE posts.id = post) THEN 2
            WHEN NOT EXISTS (SELECT FROM users WHERE users.id = who) THEN 3
            ELSE 1
        END;
    END IF;
    COMMIT;
    lsn := {COMMIT_LSN};
END
$$;
"""


async def install_procedures(primary: str) -> None:
    """Create or replace the procedures. One process at a time, so that starting together is safe."""
    async with await AsyncConnection.connect(primary) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('feedtwin procedures'))")
        await connection.execute(PROCEDURES.encode())
