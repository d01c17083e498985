-- Remove a session's record if nobody has written it since it was read.
--
-- KEYS[1]  the record
-- ARGV[1]  the revision that was read, 6 bytes
--
-- Reply: 1 = removed; 0 = it is gone already; a string = the record that somebody else has written.
local stored = redis.call('GETRANGE', KEYS[1], 5, 10)
if stored == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if stored ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
redis.call('UNLINK', KEYS[1])
return 1
