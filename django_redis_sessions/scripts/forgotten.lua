-- Take sessions out of their user's index, when their records are gone.
--
-- KEYS[1]  the index
-- ARGV[1]  for how many seconds an index without sessions is kept after a revocation
-- ARGV[2]  and the following: what to take out
--
-- Reply: 1.
forget(KEYS[1], 2, ARGV[1])
return 1
