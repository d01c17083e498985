-- Note a session in its user's index. Stands in front of every script that does so, as a function.
--
-- index      the Redis key of the index
-- first      where its arguments begin in ARGV:
--   +0  the session's name
--   +1  the name it is moving from, which stays; empty: none
--   +2  the score: the second in which the session is surely over
--   +3  now, in seconds since 1970
--   +4  for how many seconds the index is kept at least
--   +5  when the request began, in microseconds since 1970
--   +6  how many sessions the user may have; 0 = any number
--   +7  "=" and the user's id
--   +8  for how many seconds members are kept that are over
--   +9  how many of those are kept at most
--
-- Gives 1 = noted; -2 = the user's sessions were revoked after the request had begun, and this one
-- was not among them yet; a table = the user has as many sessions as allowed, these.
local function admit(index, first)
  local name, former, now = ARGV[first], ARGV[first + 1], tonumber(ARGV[first + 3])
  local known = redis.call('ZSCORE', index, name)
  if not known and former ~= '' then
    known = redis.call('ZSCORE', index, former)
  end
  if not known then
    local stamp = redis.call('ZSCORE', index, '!')
    if stamp and tonumber(ARGV[first + 5]) <= tonumber(stamp) then
      return -2
    end
    local limit = tonumber(ARGV[first + 6])
    if limit > 0 then
      local names = redis.call('ZRANGEBYSCORE', index, '(' .. now, '100000000000')
      if #names >= limit then
        return names
      end
    end
  end
  redis.call('ZADD', index, 'GT', ARGV[first + 2], name)
  redis.call('ZADD', index, 'NX', 0, ARGV[first + 7])
  redis.call('ZREMRANGEBYSCORE', index, 1, now - ARGV[first + 8])
  local over = redis.call('ZCOUNT', index, 1, now)
  if over > tonumber(ARGV[first + 9]) then
    redis.call('ZREMRANGEBYRANK', index, 1, over - ARGV[first + 9])
  end
  if redis.call('TTL', index) < tonumber(ARGV[first + 4]) then
    redis.call('EXPIRE', index, ARGV[first + 4])
  end
  return 1
end
