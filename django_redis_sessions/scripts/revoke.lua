-- Doom a user's sessions: whatever else happens, they can no longer be moved to another name.
--
-- KEYS[1]  the user's index
-- ARGV[1]  now, in microseconds since 1970: requests that began before add no session any more
-- ARGV[2]  for how many seconds that is remembered
-- ARGV[3]  how many sessions to doom at most
-- ARGV[4]  and the following: the names that the one may have that is kept
--
-- Reply: {"=" and the user's id or "", the names of the doomed}; no names: there are no more. They
-- stay in the index, as "~" and the name, until somebody who has ended them takes them out: whoever
-- repeats the call after a crash finds them again. When there are no more, all who are left were kept.
redis.call('ZADD', KEYS[1], 'GT', ARGV[1], '!')
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
local kept, doomed = {}, {}
for at = 4, #ARGV do
  kept[ARGV[at]] = true
end
-- What is over already is for the sweeper to report.
local now = '(' .. math.floor(ARGV[1] / 1000000)
local most = ARGV[3] + #ARGV - 3
local members = redis.call('ZRANGEBYSCORE', KEYS[1], now, '100000000000', 'WITHSCORES', 'LIMIT', 0, most)
for at = 1, #members, 2 do
  local name = members[at]
  if string.sub(name, 1, 1) == '~' then
    doomed[#doomed + 1] = string.sub(name, 2)
  elseif not kept[name] then
    redis.call('ZREM', KEYS[1], name)
    redis.call('ZADD', KEYS[1], members[at + 1], '~' .. name)
    doomed[#doomed + 1] = name
  end
end
if #doomed == 0 then
  redis.call('ZADD', KEYS[1], 'GT', ARGV[1], '!!')
end
local owner = redis.call('ZRANGEBYSCORE', KEYS[1], 0, 0)
return {owner[1] or '', doomed}
