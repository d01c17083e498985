-- Remove a session's record if nobody has written it since it was read.
--
-- KEYS[1]  the record
-- KEYS[2]  the user's index; missing: the session is in none
-- ARGV[1]  the revision that was read, 6 bytes; empty: none was read, whatever is there goes
-- ARGV[2]  the channel for announcements
-- ARGV[3]  what is announced there
-- ARGV[4]  with KEYS[2]: for how many seconds an index without sessions is kept after a revocation
-- ARGV[5]  with KEYS[2]: the session's name
--
-- Reply: 1 = removed; 0 = it is gone already; a string = the record that somebody else has written.
local stored = redis.call('GETRANGE', KEYS[1], 5, 10)
if stored == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[1] ~= '' and stored ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
redis.call('UNLINK', KEYS[1])
if KEYS[2] then
  forget(KEYS[2], 5, ARGV[4])
end
-- Who may write sessions need not have the right to announce anything.
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
