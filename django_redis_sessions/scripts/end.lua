-- End a session of which nothing is known yet, and tell whose it was.
--
-- KEYS     the record under each name that the session may have
-- ARGV[1]  the channel for announcements
-- ARGV[2]  what is announced there
-- ARGV[3]  how many first bytes of a record hold any header
--
-- Reply: those bytes; empty: there was no session.
local found, ended = '', false
for _, record in ipairs(KEYS) do
  local start = redis.call('GETRANGE', record, 0, ARGV[3] - 1)
  if redis.call('UNLINK', record) == 1 then
    found, ended = start, true
  end
end
if ended then
  -- Who may write sessions need not have the right to announce anything.
  redis.pcall('PUBLISH', ARGV[1], ARGV[2])
end
return found
