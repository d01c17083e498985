-- Store a session that comes from another engine, unless it has been here before.
--
-- KEYS[1]  the record
-- KEYS[2]  the session's mark
-- KEYS[3]  the user's index; missing: the session is in none
-- ARGV[1]  the record
-- ARGV[2]  its ttl in seconds
-- ARGV[3]  the mark
-- ARGV[4]  its ttl in seconds
-- ARGV[5]  and the following, with KEYS[3]: what admit() needs
--
-- Reply: 1 = stored; 0 = it was here and has ended; a string = the record that is here; -2 as admit()
-- gives it, and nothing was written.
local stored = redis.call('GET', KEYS[1])
-- ">" is one that has gone to another engine, and may come back from there.
local has_come = (redis.call('GET', KEYS[2]) or '>') ~= '>'
if stored then
  if not has_come then
    redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
  end
  return stored
end
if has_come then
  return 0
end
if KEYS[3] then
  local admitted = admit(KEYS[3], 5)
  if admitted ~= 1 then
    return admitted
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
return 1
