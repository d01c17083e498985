-- Claim the members of a user's index that are over, so that no other sweeper reports them meanwhile.
--
-- KEYS[1]  the user's index
-- ARGV[1]  now, in seconds since 1970
-- ARGV[2]  for how many seconds nobody else may claim them
-- ARGV[3]  how many to claim at most
--
-- Reply: {"=" and the user's id or "", the names claimed}.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], 1, ARGV[1], 'LIMIT', 0, ARGV[3])
for _, name in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[2], name)
end
local owner = redis.call('ZRANGEBYSCORE', KEYS[1], 0, 0)
return {owner[1] or '', due}
