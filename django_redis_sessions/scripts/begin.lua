-- Take one anonymous session out of its address's budget, and store it.
--
-- A bucket holds the instant, in microseconds since 1970, at which it is full again; a session moves
-- that by what one costs. No bucket is a full one.
--
-- KEYS[1]  the bucket
-- KEYS[2]  the record; missing: it is on another server, and stored by whoever calls
-- ARGV[1]  now, in microseconds since 1970
-- ARGV[2]  what one session costs, in microseconds
-- ARGV[3]  how far ahead of now the bucket may be, in microseconds
-- ARGV[4]  with KEYS[2]: the record
-- ARGV[5]  with KEYS[2]: its ttl in seconds
--
-- Reply: 1 = done; -1 = the key is taken; -3 = the budget is spent. Nothing was written but for 1.
-- A repeated call whose first answer was lost finds its own revision, and is done.
if KEYS[2] then
  local stored = redis.call('GETRANGE', KEYS[2], 5, 10)
  if stored ~= '' and stored == string.sub(ARGV[4], 6, 11) then
    return 1
  elseif stored ~= '' or redis.call('EXISTS', KEYS[2]) == 1 then
    return -1
  end
end
local now = tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) or 0, now) + ARGV[2]
if full - now > tonumber(ARGV[3]) then
  return -3
end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'EX', math.ceil((full - now) / 1000000))
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5])
end
return 1
