-- One atomic state change of a run: fence, replay guard, checks, then operations; all of it or nothing.
-- KEYS[1] lease hash, KEYS[2] replay guard; the rest are the keys that the program names by number.
-- ARGV[1] the fence the caller holds ("" for none), ARGV[2] the program as JSON, the rest are operands. A check, a counter
-- and an operation each end with where their operands stand: the first, and how many.
-- Answers {"ok"}, {"replayed"}, {"fence"}, {"refused", check number, what it found} or {"negative", field}.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'replayed'}
end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then
  return {'fence'}
end

local program = cjson.decode(ARGV[2])

local function operands(first, count)
  return unpack(ARGV, first, first + count - 1)
end

local function counter(key, field)
  return tonumber(redis.call('HGET', key, field) or '0')
end

-- Each takes a key and where its operands stand, and answers what is wrong, from 1; nil if nothing is.
local checks = {
  ranked = function(key, first, count)
    -- In slices: Lua hands a command a few thousand operands at most.
    for start = 0, count - 1, 1000 do
      local scores = redis.call('ZMSCORE', key, operands(first + start, math.min(1000, count - start)))
      for number, score in ipairs(scores) do
        if not score then
          return start + number
        end
      end
    end
  end,
  has = function(key, first)
    return redis.call('HEXISTS', key, ARGV[first]) == 0 and 1 or nil
  end,
  lacks = function(key, first)
    return redis.call('HEXISTS', key, ARGV[first]) == 1 and 1 or nil
  end,
  equals = function(key, first)
    return (redis.call('HGET', key, ARGV[first]) or '') ~= ARGV[first + 1] and 1 or nil
  end,
  limit = function(key, first, count)
    local sum = tonumber(ARGV[first])
    for place = first + 2, first + count - 1 do
      sum = sum + counter(key, ARGV[place])
    end
    return sum > tonumber(ARGV[first + 1]) and 1 or nil
  end,
}

for number, check in ipairs(program.checks) do
  local found = checks[check[1]](KEYS[check[2]], check[3], check[4])
  if found then
    return {'refused', number, found}
  end
end

for _, change in ipairs(program.counters) do
  local key, field, delta = KEYS[change[1]], operands(change[2], change[3])
  if tonumber(delta) < 0 and counter(key, field) + tonumber(delta) < 0 then
    return {'negative', field}
  end
end
for _, change in ipairs(program.counters) do
  redis.call('HINCRBY', KEYS[change[1]], operands(change[2], change[3]))
end
for _, operation in ipairs(program.operations) do
  redis.call(operation[1], KEYS[operation[2]], operands(operation[3], operation[4]))
end
redis.call('SET', KEYS[2], '1', 'EX', 300)
return {'ok'}
