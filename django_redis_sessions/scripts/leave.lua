-- Give up a session's old key, if nobody has written or ended the session there since it was read. Its
-- record stands under the new key already.
--
-- KEYS[1]  the record under the old key
-- KEYS[2]  what leads whoever knows the old name to the new one, in the same slot
-- KEYS[3]  the old key's forwarding address, on a server without slots; missing: none is left here
-- ARGV[1]  the revision that was read, 6 bytes; empty: none was read, whatever is there goes
-- ARGV[2]  the new name
-- ARGV[3]  the seconds for which it is kept
-- ARGV[4]  the channel for announcements
-- ARGV[5]  what is announced there; empty: nothing
-- ARGV[6]  with KEYS[3]: the forwarding address
-- ARGV[7]  with KEYS[3]: the seconds for which it is kept
--
-- Reply: 1 = done; 0 = the session is gone; a string = the record that somebody else has written.
-- A repeated call whose first answer was lost finds what it has left, and is done.
local stored = redis.call('GETRANGE', KEYS[1], 5, 10)
if stored == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  if redis.call('GET', KEYS[2]) == ARGV[2] then
    return 1
  end
  return 0
end
if ARGV[1] ~= '' and stored ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if KEYS[3] then
  redis.call('SET', KEYS[3], ARGV[6], 'EX', ARGV[7])
end
-- Who may write sessions need not have the right to announce anything.
if ARGV[5] ~= '' then
  redis.pcall('PUBLISH', ARGV[4], ARGV[5])
end
return 1
