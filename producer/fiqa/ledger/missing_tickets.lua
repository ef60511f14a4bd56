-- Count the tickets that the queue lacks: one for each unclaimed chunk, MAX_TICKETS at most.
--
-- Tickets that workers hold are not counted: a worker may have died, and a chunk must not wait for the ticket of a dead
-- worker. An extra ticket does no harm.
--
-- Keys: due; leases; the hashes of due jobs and their part requeued; tickets; unacked; unacked_index.
-- ARGV: none.
-- Reply: the number of tickets to publish.
fiqa.sweep(fiqa.clock())
local wanted = 0
for _, job in ipairs(redis.call('ZRANGE', fiqa.DUE, 0, 99)) do
  wanted = wanted + fiqa.unclaimed(job)
  if wanted >= fiqa.MAX_TICKETS then break end
end
-- If there is nothing to do, a held ticket has no use. Its worker may be dead, and kombu would keep it for an hour.
if wanted == 0 and redis.call('ZCARD', fiqa.LEASES) == 0 then
  redis.call('DEL', fiqa.UNACKED, fiqa.UNACKED_INDEX)
end
return math.max(0, math.min(wanted, fiqa.MAX_TICKETS) - redis.call('LLEN', fiqa.TICKETS))
