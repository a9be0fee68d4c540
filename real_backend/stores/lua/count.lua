-- Add ARGV[1] to the reactions of a post whose metadata is here, and return the sum; -1 where it is not, for a hash
-- with nothing but a counter would pass for a post.
if redis.call('HEXISTS', KEYS[1], 'author') == 0 then
  return -1
end
return redis.call('HINCRBY', KEYS[1], 'reactions', ARGV[1])
