-- KEYS: the idempotency key, the reservation, the budgets of all scopes
-- ARGV: estimate, now

local known = redis.call('GET', KEYS[1])
if known then
    return known
end

local estimate = tonumber(ARGV[1])

for i = 3, #KEYS do
    local budget = redis.call('HMGET', KEYS[i], 'remaining')
    if not budget[1] or tonumber(budget[1]) < estimate then
        return 'DENY'
    end
end

for i = 3, #KEYS do
    redis.call('HINCRBY', KEYS[i], 'remaining', -estimate)
    redis.call('HINCRBY', KEYS[i], 'reserved', estimate)
end

redis.call('HSET', KEYS[2], 'status', 'ACTIVE', 'estimate', estimate,
           'expires_at', ARGV[2] + 60000)
redis.call('ZADD', 'expiries', ARGV[2] + 60000, KEYS[2])
redis.call('SET', KEYS[1], KEYS[2], 'PX', 86400000)

return KEYS[2]
