-- One atomic state change of a run: fence, replay guard, checks, then operations; all of it or nothing.
-- KEYS[1] lease hash, KEYS[2] replay guard; the rest are the keys that operations name by number.
-- ARGV[1] the fence the caller holds ("" for none), ARGV[2] the program as JSON, the rest are operands named by number.
-- Answers {"ok"}, {"replayed"}, {"fence"}, {"refused", check number} or {"negative", field}.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'replayed'}
end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return {'fence'}
end

local program = cjson.decode(ARGV[2])

local function counter(key, field)
  return tonumber(redis.call('HGET', key, field) or '0')
end

for number, check in ipairs(program.checks) do
  local kind, key = check[1], KEYS[check[2]]
  local holds
  if kind == 'ranked' then
    holds = redis.call('ZSCORE', key, ARGV[check[3]]) ~= false
  elseif kind == 'has' then
    holds = redis.call('HEXISTS', key, ARGV[check[3]]) == 1
  elseif kind == 'lacks' then
    holds = redis.call('HEXISTS', key, ARGV[check[3]]) == 0
  elseif kind == 'equals' then
    holds = (redis.call('HGET', key, ARGV[check[3]]) or '') == ARGV[check[4]]
  elseif kind == 'limit' then
    local sum = tonumber(ARGV[check[3]])
    for index = 5, #check do
      sum = sum + counter(key, ARGV[check[index]])
    end
    holds = sum <= tonumber(ARGV[check[4]])
  end
  if not holds then
    return {'refused', number}
  end
end

for _, change in ipairs(program.counters) do
  local key, field, delta = KEYS[change[1]], ARGV[change[2]], tonumber(ARGV[change[3]])
  if delta < 0 and counter(key, field) + delta < 0 then
    return {'negative', field}
  end
end
for _, change in ipairs(program.counters) do
  redis.call('HINCRBY', KEYS[change[1]], ARGV[change[2]], ARGV[change[3]])
end
for _, operation in ipairs(program.operations) do
  local call = {operation[1], KEYS[operation[2]]}
  for index = 3, #operation do
    call[#call + 1] = ARGV[operation[index]]
  end
  redis.call(unpack(call))
end
redis.call('SET', KEYS[2], '1', 'EX', 300)
return {'ok'}
