-- Store a rebuilt list unless a push passed by since its guard was read, or somebody else stored it first.
-- KEYS: list, guard, floor, set of pulled followees; ARGV: the guard and the floor as they were read ('' for none),
-- the floor to set where there is none ('' for none), how many entries follow, entries..., pulled followees...
-- Returns {1 stored | 0 there already | -1 a push raced, guard, floor}.
local guard = redis.call('GET', KEYS[2]) or ''
local floor = redis.call('GET', KEYS[3]) or ''
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {0, guard, floor}
end
if guard ~= ARGV[1] or floor ~= ARGV[2] then
  return {-1, guard, floor}
end
if floor == '' and ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[3])
end
local last = 4 + tonumber(ARGV[4])
for i = 5, last, 1000 do
  redis.call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, last)))
end
redis.call('DEL', KEYS[4])
for i = last + 1, #ARGV, 1000 do
  redis.call('SADD', KEYS[4], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return {1, guard, floor}
