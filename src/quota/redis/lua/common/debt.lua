-- What was used beyond a limit, and how the limit pays it off.

-- floor((x * y + carry) / divisor) and the rest, for whole numbers below 2^53, a divisor below 2^36 and a carry
-- below it. Exact as long as the quotient is below 2^53; above, it is too large to be anything else.
local function multiply_divide(x, y, carry, divisor)
  local product = x * y + carry
  if product <= MAX_EXACT then
    local quotient = math.floor(product / divisor)
    return quotient, product - quotient * divisor
  end
  local whole = math.floor(x / divisor)
  local part = x - whole * divisor
  -- part * y + carry by long division, 15 bits of y at a time: no product reaches 2^53.
  local quotient, rest = 0, 0
  for shift = 45, 0, -15 do
    local digit = math.floor(y / 2 ^ shift) % 32768
    local value = rest * 32768 + part * digit
    local times = math.floor(value / divisor)
    quotient = quotient * 32768 + times
    rest = value - times * divisor
  end
  rest = rest + carry
  if rest >= divisor then
    quotient = quotient + 1
    rest = rest - divisor
  end
  return whole * y + quotient, rest
end

local function debt_at(window, debt, limit, nowMs)
  if window.kind == 'sliding' then
    local fallen, carry = multiply_divide(limit, nowMs - debt.sinceMs, debt.carry, window.lengthMs)
    if fallen >= debt.amount then return nil end
    return { amount = debt.amount - fallen, carry = carry, sinceMs = nowMs }
  end
  if window.kind == 'calendar' then
    local amount = debt.amount
    for _, start in ipairs(window.starts) do
      if start > debt.sinceMs and start <= nowMs then amount = amount - limit end
      if amount <= 0 then return nil end
    end
    return { amount = amount, carry = 0, sinceMs = cell_at(window, nowMs) }
  end
  if window.kind == 'fixed' then
    local now = cell_at(window, nowMs)
    -- Where the product is no exact double it is beyond 2^53, and so beyond any debt.
    local amount = debt.amount - limit * ((now - debt.sinceMs) / window.lengthMs)
    return amount > 0 and { amount = amount, carry = 0, sinceMs = now } or nil
  end
  return nil
end

-- What has fallen beyond whole units, as another window counts it; rounded down, so that no debt falls too early.
local function carry_under(from, window, carry)
  if from.kind ~= 'sliding' or window.kind ~= 'sliding' then return 0 end
  return (multiply_divide(carry, window.lengthMs, 0, from.lengthMs))
end
