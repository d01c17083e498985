-- Write a session's record if nobody has written it since it was read, or extend its life.
--
-- KEYS[1]  the record
-- KEYS[2]  the user's index; missing: the session's place in it stays as it is
-- ARGV[1]  the revision that was read, 6 bytes; empty: none was read, whatever is there is replaced
-- ARGV[2]  the new record; empty: the content stays, only its life is extended
-- ARGV[3]  the life, 8 bytes as they stand in the record
-- ARGV[4]  the ttl in seconds
-- ARGV[5]  and the following, with KEYS[2]: what admit() needs
--
-- Reply: 1 = done; 0 = the session is gone; a string = the record that somebody else has written;
-- -2 or a table = as admit() gives it, and nothing was written.
-- A repeated call whose first answer was lost finds its own revision, and is done.
local stored = redis.call('GETRANGE', KEYS[1], 5, 10)
if stored == '' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[2] == '' then
  -- Who wrote meanwhile has extended the life as well.
  if stored ~= ARGV[1] then
    return 1
  end
elseif stored == string.sub(ARGV[2], 6, 11) then
  return 1
elseif ARGV[1] ~= '' and stored ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
if KEYS[2] then
  local admitted = admit(KEYS[2], 5)
  if admitted ~= 1 then
    return admitted
  end
end
if ARGV[2] == '' then
  redis.call('SETRANGE', KEYS[1], 16, ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
end
return 1
