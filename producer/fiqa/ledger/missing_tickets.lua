-- Count the tickets that the queue lacks: one for each unclaimed chunk, MAX_TICKETS at most.
--
-- Tickets that workers hold are not counted: a worker may have died, and a chunk must not wait for the ticket of a dead
-- worker. An extra ticket does no harm.
--
-- Keys: due; leases; expired; unclaimed; tickets; unacked; unacked_index; to count again, the hashes of due jobs
--   and their part requeued.
-- ARGV: 1 '1' to count the unclaimed chunks again, else '0'. Every script updates the key `unclaimed`; counting again
--   corrects it.
-- Reply: the number of tickets to publish.
fiqa.sweep(fiqa.clock())
local wanted = tonumber(redis.call('GET', fiqa.UNCLAIMED) or 0)
if ARGV[1] == '1' then
  local counted, jobs = 0, redis.call('ZRANGE', fiqa.DUE, 0, fiqa.MAX_TICKETS - 1)
  for _, job in ipairs(jobs) do counted = counted + fiqa.unclaimed(job) end
  if counted > wanted or (counted < wanted and #jobs < fiqa.MAX_TICKETS) then
    redis.call('SET', fiqa.UNCLAIMED, counted)
    wanted = counted
  end
end
if wanted <= 0 and redis.call('EXISTS', fiqa.DUE) == 0 then redis.call('DEL', fiqa.UNCLAIMED) end
-- If there is nothing to do, a held ticket has no use. Its worker may be dead, and kombu would keep it for an hour.
if wanted <= 0 and redis.call('ZCARD', fiqa.LEASES) == 0 then
  redis.call('DEL', fiqa.UNACKED, fiqa.UNACKED_INDEX)
end
return math.max(0, math.min(wanted, fiqa.MAX_TICKETS) - redis.call('LLEN', fiqa.TICKETS))
