-- Put one post into many lists, each newest (largest id) first and capped: an atomic push-if-absent.
-- A list that does not exist stays so; its guard then remembers that a push passed by, as the log position behind
-- which the post is visible, so that a rebuild neither misses the post nor reads a server that has not replayed it.
-- The order by id makes pushes idempotent and commutative: whatever comes twice or late, the list is the same.
-- KEYS: none, since the keys are made from prefixes; ARGV: list prefix, guard prefix, post, lsn, cap, ident...
-- Returns {newly pushed, already there or beyond the cap, no such list}.
local lists, guards, post, lsn, cap = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local id = tonumber(post)
local pushed, present, absent = 0, 0, 0
for i = 6, #ARGV do
  local key = lists .. ARGV[i]
  local head = redis.call('LINDEX', key, 0)
  if not head then
    local guard = guards .. ARGV[i]
    local known = redis.call('GET', guard)
    if not known or tonumber(known) < lsn then
      redis.call('SET', guard, ARGV[4])
    end
    absent = absent + 1
  elseif tonumber(head) < id then
    redis.call('LPUSH', key, post)
    redis.call('LTRIM', key, 0, cap - 1)
    pushed = pushed + 1
  else
    local entries = redis.call('LRANGE', key, 0, -1)
    local pivot = false
    for j = 1, #entries do
      local entry = tonumber(entries[j])
      if entry <= id then
        pivot = entry < id and entries[j] or 'present'
        break
      end
    end
    if pivot == 'present' or (not pivot and #entries >= cap) then
      present = present + 1
    else
      if pivot then
        redis.call('LINSERT', key, 'BEFORE', pivot, post)
        redis.call('LTRIM', key, 0, cap - 1)
      else
        redis.call('RPUSH', key, post)
      end
      pushed = pushed + 1
    end
  end
end
return {pushed, present, absent}
