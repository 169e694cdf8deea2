-- KEYS: the idempotency key, the reservation, the budgets of all scopes
-- ARGV: actual, estimate if the reservation is not there (the benchmark sends
-- commits in a run of their own)

local known = redis.call('GET', KEYS[1])
if known then
    return known
end

local estimate = redis.call('HGET', KEYS[2], 'estimate') or ARGV[2]
local actual = tonumber(ARGV[1])

for i = 3, #KEYS do
    redis.call('HINCRBY', KEYS[i], 'reserved', -estimate)
    redis.call('HINCRBY', KEYS[i], 'spent', actual)
    redis.call('HINCRBY', KEYS[i], 'remaining', estimate - actual)
end

redis.call('HSET', KEYS[2], 'status', 'COMMITTED', 'charged', actual)
redis.call('ZREM', 'expiries', KEYS[2])
redis.call('SET', KEYS[1], KEYS[2], 'PX', 86400000)

return actual
