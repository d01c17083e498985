-- Write a session's record in another way, if it still has the content that was read.
--
-- KEYS[1]  the record
-- ARGV[1]  the same content in a new record, under the revision that was read
--
-- Reply: 1 = done; 0 = the session is gone, or somebody else has written it.
-- The life, 8 bytes from offset 16, is the one that is stored now: a touch changes it and nothing else. Nor
-- does the ttl change.
local head = redis.call('GETRANGE', KEYS[1], 5, 23)
if #head < 19 or string.sub(head, 1, 6) ~= string.sub(ARGV[1], 6, 11) then
  return 0
end
local record = string.sub(ARGV[1], 1, 16) .. string.sub(head, 12, 19) .. string.sub(ARGV[1], 25)
redis.call('SET', KEYS[1], record, 'KEEPTTL')
return 1
