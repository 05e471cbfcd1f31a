#!lua
-- Decides on one request that meets several limits and charges what it has to, in one step: native/request.py's
-- `decide` with the algorithms of native/limits.py, exact for numbers below 2^53. The shebang has Redis (7 or later)
-- refuse the script before it begins where it cannot write: on a replica, without memory.
--
-- KEYS: the request's counters, each once, all of one slot.
-- ARGV[1]: little-endian doubles. First the time in microseconds (0: Redis' own; another only to replay what happened),
--   1 to look only, 1 if the request is refused elsewhere, how many quotas there are elsewhere, how many of them refuse.
--   Then for each question: the number of its key, its algorithm (0 fixed window, 1 sliding window, 2 token bucket),
--   limit, window, capacity, hits, the number of its descriptor (from 1, in order), its mode (bits as in native.request).
-- Reply: 1 if the request is admitted, else 0; then for each question 1 if it admits, what is left, microseconds until
--   the reset, and until a retry is admitted (-1: never).
--
-- A counter is a string of three little-endian doubles: when it was changed, the count, and the previous window's count
-- or what has come back of the next token. It is written with its TTL by one command, so no key lives for ever; the TTL
-- lasts until the counter is back at zero. Whatever else a key holds is as good as nothing, and gives way at the next
-- charge.

local LARGEST = 9007199254740991
local MARGIN_MS = 1000 -- for a replica that becomes master and whose clock is ahead
local REPLAY_MS = 3600000 -- a replay's time stands still while Redis' own goes on

local floor, decode = math.floor, struct.unpack
local keys, argument = KEYS, ARGV[1]
local now, look_only, refused, quotas, refusing, at = decode('<ddddd', argument)
local margin_ms = MARGIN_MS
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  margin_ms = REPLAY_MS
end

-- a * b / c rounded down, and the rest, for integers below 2^53; a quotient that is not is LARGEST.
local function multiply_divide(a, b, c)
  local product = a * b
  if product <= LARGEST then
    local quotient = floor(product / c)
    return quotient, product - quotient * c
  end
  local quotient = floor(product / c)
  if quotient > LARGEST then
    return LARGEST, 0
  end
  -- The quotient is off by a few at most. a * b - quotient * c in limbs of 18 bits says by how many.
  local limb = 262144
  local a0, a1, a2 = a % limb, floor(a / limb) % limb, floor(a / 68719476736)
  local b0, b1, b2 = b % limb, floor(b / limb) % limb, floor(b / 68719476736)
  local c0, c1, c2 = c % limb, floor(c / limb) % limb, floor(c / 68719476736)
  local q0, q1, q2 = quotient % limb, floor(quotient / limb) % limb, floor(quotient / 68719476736)
  local low = a0 * b0 - q0 * c0
  local next = a0 * b1 + a1 * b0 - q0 * c1 - q1 * c0 + floor(low / limb)
  local high = a0 * b2 + a1 * b1 + a2 * b0 - q0 * c2 - q1 * c1 - q2 * c0 + floor(next / limb)
  local higher = a1 * b2 + a2 * b1 - q1 * c2 - q2 * c1 + floor(high / limb)
  local highest = a2 * b2 - q2 * c2 + floor(higher / limb)
  -- The rest is above * 2^36 + below, and less than a few times c, so both are small.
  local below = (next % limb) * limb + low % limb
  local above = (highest * limb + higher % limb) * limb + high % limb
  local c_above, c_below = floor(c / 68719476736), c % 68719476736
  while above < 0 do
    quotient, above, below = quotient - 1, above + c_above, below + c_below
    if below >= 68719476736 then
      above, below = above + 1, below - 68719476736
    end
  end
  while above > c_above or (above == c_above and below >= c_below) do
    quotient, above, below = quotient + 1, above - c_above, below - c_below
    if below < 0 then
      above, below = above - 1, below + 68719476736
    end
  end
  return quotient, above * 68719476736 + below
end
local SLIDING, BUCKET = 1, 2

-- The counters, each as it was last stored; `lives` has the microseconds for which those that changed are kept.
local changed_at, counts, rests, lives = {}, {}, {}, {}
if #keys > 0 then
  -- A key that holds something else than a string is answered as a missing one.
  local values = redis.call('MGET', unpack(keys))
  for key = 1, #keys do
    local value = values[key]
    local since, count, rest = 0, 0, 0
    if value and #value == 24 then
      since, count, rest = decode('<ddd', value)
      if not (since >= 0 and since <= LARGEST and count >= 0 and count <= LARGEST and rest >= 0 and rest <= LARGEST) then
        since, count, rest = 0, 0, 0
      end
    end
    changed_at[key], counts[key], rests[key] = since, count, rest
  end
end

-- The counter as it stands now, or when it was last changed if that is later: that time, count, rest.
local function current(key, algorithm, limit, window)
  local since, count, rest = changed_at[key], counts[key], rests[key]
  local time = now
  if time < since then
    time = since
  end
  if algorithm == BUCKET then
    if count == 0 then
      return time, 0, 0
    end
    local tokens, fraction = multiply_divide(time - since, limit, window)
    if fraction >= window - rest then
      tokens, fraction = tokens + 1, fraction - (window - rest)
    else
      fraction = fraction + rest
    end
    if tokens >= count then
      return time, 0, 0
    end
    return time, count - tokens, fraction
  end
  local passed = floor(time / window) - floor(since / window)
  if passed == 0 then
    return time, count, rest
  end
  if passed == 1 and algorithm == SLIDING then
    return time, 0, count
  end
  return time, 0, 0
end

-- Microseconds until so many of a bucket's missing tokens have come back.
local function until_refilled(tokens, fraction, limit, window)
  if tokens == 0 or limit == 0 then
    return 0
  end
  local product = tokens * window
  if product <= LARGEST then
    return math.ceil((product - fraction) / limit)
  end
  local wait, over = multiply_divide(tokens - 1, window, limit)
  local more, left = multiply_divide(1, window - fraction, limit)
  wait = wait + more
  if left > limit - over then
    wait = wait + 2
  elseif left + over > 0 then
    wait = wait + 1
  end
  return wait
end

-- Microseconds from now until the window ends or the bucket is full.
local function until_reset(algorithm, limit, window, time, count, rest)
  if algorithm == BUCKET then
    return time - now + until_refilled(count, rest, limit, window)
  end
  return time - now + window - time % window
end

-- Decides on so many hits: the four numbers of a reply.
local function look(algorithm, limit, window, capacity, hits, time, count, rest)
  local used = count
  if algorithm == SLIDING and rest > 0 then
    local fading, over = multiply_divide(rest, window - time % window, window)
    used = count + fading
    if over > 0 then
      used = used + 1
    end
  end
  local remaining = capacity - used
  if remaining < 0 then
    remaining = 0
  end
  local needed = hits > 1 and hits or 1
  if needed <= remaining then
    return 1, remaining, until_reset(algorithm, limit, window, time, count, rest), 0
  end
  if needed > capacity then
    return 0, remaining, until_reset(algorithm, limit, window, time, count, rest), -1
  end
  local keep = capacity - needed
  local wait
  if algorithm == BUCKET then
    wait = time - now + until_refilled(count - keep, rest, limit, window)
  else
    wait = time - now + window - time % window
    if algorithm == SLIDING then
      if count <= keep then
        wait = wait - multiply_divide(keep - count, window, rest)
      else
        wait = wait + window - multiply_divide(keep, window, count)
      end
    end
  end
  return 0, remaining, wait, wait
end

local function keep(key, algorithm, limit, window, time, count, rest)
  changed_at[key], counts[key], rests[key] = time, count, rest
  local reset = until_reset(algorithm, limit, window, time, count, rest)
  local life = reset
  if algorithm == SLIDING then
    life = life + window
  end
  if not lives[key] or lives[key] < life then
    lives[key] = life
  end
  return reset
end

-- Takes hits that are admitted already, or all that is left.
local function take(key, algorithm, limit, window, capacity, hits)
  local time, count, rest = current(key, algorithm, limit, window)
  if count + hits <= capacity then
    count = count + hits
  elseif count < capacity then
    count = capacity
    if algorithm == BUCKET then
      rest = 0
    end
  end
  keep(key, algorithm, limit, window, time, count, rest)
end

local reply, taken, admits, modes = { 0 }, {}, {}, {}
local questions = (#argument - 40) / 64
local shared = #keys < questions
for question = 1, questions do
  local key, algorithm, limit, window, capacity, hits, descriptor, mode =
    decode('<dddddddd', argument, 64 * question - 23)
  local allowed, remaining, reset, retry
  if mode >= 8 then
    -- Counted whatever comes of it, as envoyproxy/ratelimit does.
    local time, count, rest = current(key, algorithm, limit, window)
    count = math.min(math.max(0, count + hits), LARGEST)
    reset = keep(key, algorithm, limit, window, time, count, rest)
    allowed, remaining = count <= limit and 1 or 0, math.max(0, limit - count)
    retry = allowed == 1 and 0 or hits > limit and -1 or reset
  else
    local before = hits >= 0 and look_only == 0 and taken[key] or 0
    allowed, remaining, reset, retry =
      look(algorithm, limit, window, capacity, math.max(0, hits) + before, current(key, algorithm, limit, window))
    if hits < 0 then
      allowed, retry = 1, 0
    elseif allowed == 1 then
      taken[key] = before + hits
    end
  end
  if admits[descriptor] ~= false then
    admits[descriptor] = allowed == 1
  end
  modes[descriptor] = mode
  local place = 4 * question - 2
  reply[place], reply[place + 1], reply[place + 2], reply[place + 3] = allowed, remaining, reset, retry
end

local admitted = refused == 0
for descriptor = 1, #modes do
  local mode = modes[descriptor]
  local refuses = not admits[descriptor] and mode % 2 == 0
  if mode % 4 >= 2 then
    quotas = quotas + 1
    if refuses then
      refusing = refusing + 1
    end
  elseif refuses then
    admitted = false
  end
end
if quotas > 0 and refusing >= quotas then
  admitted = false
end
reply[1] = admitted and 1 or 0
if look_only == 1 then
  return reply
end

for question = 1, questions do
  local key, algorithm, limit, window, capacity, hits, descriptor, mode =
    decode('<dddddddd', argument, 64 * question - 23)
  local place = 4 * question - 2
  if mode >= 8 or hits == 0 then
    -- Counted already, or nothing to count.
  elseif admitted and admits[descriptor] then
    local time, count, rest = current(key, algorithm, limit, window)
    if hits < 0 then
      count = count + hits
      if count <= 0 then
        count = 0
        if algorithm == BUCKET then
          rest = 0
        end
      end
      keep(key, algorithm, limit, window, time, count, rest)
      local _
      _, reply[place + 1], reply[place + 2] = look(algorithm, limit, window, capacity, 0, time, count, rest)
    else
      local allowed, remaining = 1, reply[place + 1]
      if shared then
        allowed, remaining = look(algorithm, limit, window, capacity, hits, time, count, rest)
      end
      if allowed == 1 then
        reply[place + 1] = remaining - hits
        reply[place + 2] = keep(key, algorithm, limit, window, time, count + hits, rest)
      else
        -- Other questions about this counter have taken room since the look. The request is admitted all the same.
        take(key, algorithm, limit, window, capacity, hits)
      end
    end
  elseif mode % 8 >= 4 and hits > 0 then
    take(key, algorithm, limit, window, capacity, hits)
    -- The answer stands; what is left and when are those of afterwards.
    local _
    _, reply[place + 1], reply[place + 2], reply[place + 3] =
      look(algorithm, limit, window, capacity, hits, current(key, algorithm, limit, window))
  end
end

for key = 1, #keys do
  local life = lives[key]
  if life then
    local value = struct.pack('<ddd', changed_at[key], counts[key], rests[key])
    redis.call('SET', keys[key], value, 'PX', string.format('%.0f', floor(life / 1000) + 1 + margin_ms))
  end
end
return reply
