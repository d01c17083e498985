-- Move a session to a new key, if it is still there and nobody has written it since it was read.
--
-- KEYS[1]  the record under the old key
-- KEYS[2]  the record under the new key
-- KEYS[3]  the old key's forwarding address
-- ARGV[1]  the revision that was read, 6 bytes; empty: none was read, whatever is there goes
-- ARGV[2]  the record for the new key
-- ARGV[3]  its ttl in seconds
-- ARGV[4]  the forwarding address; empty: the old key leads nowhere
-- ARGV[5]  the seconds for which it is kept
--
-- Reply: 1 = done; 0 = the session is gone; -1 = the new key is taken; a string = the record that
-- somebody else has written under the old key.
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
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('UNLINK', KEYS[1])
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
end
return 1
