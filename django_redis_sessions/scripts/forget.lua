-- Take a session out of its user's index. Stands in front of every script that does so, as a function.
--
-- index      the Redis key of the index
-- first      where the names begin in ARGV, up to its end
-- patience   for how many seconds an index without sessions is kept after a revocation
local function forget(index, first, patience)
  redis.call('ZREM', index, unpack(ARGV, first))
  if redis.call('ZCOUNT', index, 1, '100000000000') == 0 then
    if redis.call('ZSCORE', index, '!') then
      redis.call('EXPIRE', index, patience)
    else
      redis.call('UNLINK', index)
    end
  end
end
