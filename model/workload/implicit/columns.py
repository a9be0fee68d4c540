"""The numbers that describe a population to compiled code: columns of `crowd` (int64) and of `law` (float64)."""

from __future__ import annotations

# Columns of `crowd`.
U_IMPLICIT = 0  # 1; 0 where followers are listed, and an account's seat is its number
U_USERS = 1
U_LEFT_BITS = 2  # of the permutation's two halves
U_RIGHT_BITS = 3
U_ROUND_KEYS = 4  # of the permutation, ROUNDS of them
U_FOLLOWERS_KEY = 8  # where an author's followers begin
U_POSTING_KEY = 9  # which of a block's accounts post more than others
U_READING_KEY = 10
U_CLASSES = 11  # of readiness to follow others
U_PULLED = 12  # accounts with numbers below this are pulled
U_SHARDS = 13  # servers of one replica of the timeline cache
U_REPLICAS = 14
CROWD_COLUMNS = 15

# Columns of `law`.
W_SCALE = 0  # of the follower counts' power law
W_SLOPE = 1  # -1 / (exponent - 1)
W_BEYOND = 2  # P(X > the most followed account's count)
W_MOST = 3  # followers of the most followed account
W_READINESS = 4  # sum over all accounts of how readily they follow others
W_READIEST = 5  # the highest readiness
W_CLASS = 6  # from here on, the readiness of each class

# An account's seat in `seats`, uint16: how many entries its timeline has, and whether it is in the cache.
SEAT_LENGTH = 0x7FFF
SEAT_CACHED = 0x8000
