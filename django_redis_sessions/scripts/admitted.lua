-- Note a session in its user's index, where the record is on another server.
--
-- KEYS[1]  the index
-- ARGV     what admit() needs
--
-- Reply: as admit() gives it.
return admit(KEYS[1], 1)
