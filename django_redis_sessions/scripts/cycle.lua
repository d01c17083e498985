-- Move a session to a new key, if it is still there and nobody has written it since it was read.
--
-- KEYS[1]  the record under the old key
-- KEYS[2]  the record under the new key
-- KEYS[3]  the old key's forwarding address
-- KEYS[4]  what leads whoever knows the old name to the new one
-- KEYS[5]  the user's index; missing: the session is in none
-- ARGV[1]  the revision that was read, 6 bytes; empty: none was read, whatever is there goes
-- ARGV[2]  the record for the new key
-- ARGV[3]  its ttl in seconds
-- ARGV[4]  the forwarding address; empty: the old key leads nowhere
-- ARGV[5]  the seconds for which it is kept
-- ARGV[6]  the new name
-- ARGV[7]  the seconds for which it is kept
-- ARGV[8]  the channel for announcements
-- ARGV[9]  what is announced there; empty: nothing
-- ARGV[10] and the following, with KEYS[5]: what admit() needs
--
-- Reply: 1 = done; 0 = the session is gone; -1 = the new key is taken; a string = the record that
-- somebody else has written under the old key; -2 or a table = as admit() gives it, and nothing was
-- written.
-- A repeated call whose first answer was lost finds its own revision, and is done.
local taken = redis.call('GETRANGE', KEYS[2], 5, 10)
if taken ~= '' then
  if taken == string.sub(ARGV[2], 6, 11) then
    return 1
  end
  return -1
end
local stored = redis.call('GETRANGE', KEYS[1], 5, 10)
if stored == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[1] ~= '' and stored ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
if KEYS[5] then
  local admitted = admit(KEYS[5], 10)
  if admitted ~= 1 then
    return admitted
  end
  redis.call('ZREM', KEYS[5], ARGV[11])
end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[4], ARGV[6], 'EX', ARGV[7])
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
end
-- Who may write sessions need not have the right to announce anything.
if ARGV[9] ~= '' then
  redis.pcall('PUBLISH', ARGV[8], ARGV[9])
end
return 1
