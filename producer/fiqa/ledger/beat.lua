-- Record that a worker runs, and drop the workers whose heartbeats stopped.
--
-- Keys: 1 workers; 2 fingerprints; 3 the worker's hash.
-- ARGV: 1 worker id; 2 its fingerprint; 3 its facts as JSON; 4 seconds after which this heartbeat expires.
-- Reply: 1.
local worker, fingerprint, facts, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = fiqa.clock()
for i = 1, 2 do
  -- A full Redis refuses only the first write of a script, and this one takes no memory.
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  -- A heartbeat that lasts longer than any lease is from before the clock was set back.
  redis.call('ZREMRANGEBYSCORE', KEYS[i], now + fiqa.LONGEST_LEASE_S, '+inf')
end
redis.call('ZADD', KEYS[1], now + seconds, worker)
redis.call('ZADD', KEYS[2], now + seconds, fingerprint)
redis.call('HSET', KEYS[3], 'facts', facts, 'heartbeat', string.format('%.3f', now))
redis.call('PEXPIRE', KEYS[3], math.floor(seconds * 1000))
return 1
