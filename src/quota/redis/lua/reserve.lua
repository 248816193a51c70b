#!lua
-- All-or-nothing over the holds, idempotent by its key.
-- KEYS: reservation, idempotency key, leases, then the partition of each hold.
-- ARGV: the call { id, leaseMs, holds = { { amount, limit, window, unit, shadow } }, part, elsewhere }, context, quotas.
-- In a cluster a reservation that holds something in several buckets has a part in each. `part`: this is not its home,
-- so it has no idempotency key and no context. `elsewhere`: as `told` says it.
-- All keys are named, also those that are not there yet: in a slot that is being moved, Redis then runs nothing.
-- Answers 'held', 'short', 'in_use' or 'abandoned'.

local reservationKey, idempotencyKey, leasesKey = KEYS[1], KEYS[2], KEYS[3]
local holds = call.holds
local keys, names = {}, {}
for index, hold in ipairs(holds) do
  keys[index] = KEYS[index + 3]
  names[index] = hold.window
end

-- A call that was given up before it came holds nothing, and carries nothing of an earlier one either.
local other = load_reservation(reservationKey)
if other and other.phase == 'abandoned' then return { 'abandoned', clockMs } end

local knownKey = not call.part and redis.call('GET', idempotencyKey)
local known = knownKey and load_reservation(knownKey)
-- What another process decided may have taken the place of this part before it came (turn.lua): once it is its own.
if call.part and other and other.moved and not is_carried_by(other, call.id) then
  knownKey, known = reservationKey, other
end
if known and known.phase ~= 'abandoned' then
  local knownKeys, knownNames = keys_of(known.placements)
  local nowMs = moment_for(knownKeys)
  local gap = uncovered(knownNames, knownKeys, nowMs)
  if gap then return gap end
  local replies = figures_of(known.placements, nowMs)
  carry(known, call.id)
  save_carriers(knownKey, known)
  return { 'held', clockMs, nowMs, replies, known.shadowShort, not call.part and told(known) or nil }
end

if other then return { 'in_use', clockMs } end

local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end

-- From now on each partition follows the window and limit of this quota, whether the request fits or not.
local short = false
local shadowShort = {}
local followed = {}
local asked = {}
for index, hold in ipairs(holds) do
  local key = keys[index]
  local state = load_state(key)
  if state then
    local moved = see(state, hold.window, nowMs)
    if moved or state.limit ~= hold.limit then followed[key] = state end
    state.limit = hold.limit
  end
  local amount = hold.amount + (asked[key] or 0)
  asked[key] = amount
  if amount > room_in(state, hold.limit) then
    if hold.shadow then shadowShort[#shadowShort + 1] = index else short = true end
  end
end

if short then
  local replies = {}
  for index, hold in ipairs(holds) do
    replies[index] = figures(load_state(keys[index]), hold.limit, true)
  end
  for key, state in pairs(followed) do save_state(key, state, nowMs) end
  return { 'short', clockMs, nowMs, replies }
end

local rememberedUntilMs = nowMs + 2 * call.leaseMs + ORPHANED_MS
local placements = {}
for index, hold in ipairs(holds) do
  local key = keys[index]
  local state = load_state(key)
  if not state then
    state = new_state(hold.window, hold.limit, nowMs)
    states[key] = state
  end
  local placement = place(state, hold.amount, nowMs)
  state.holders = state.holders + 1
  state.heldUntilMs = math.max(state.heldUntilMs, rememberedUntilMs)
  placement.key = key
  placement.amount = hold.amount
  placement.limit = hold.limit
  placement.window = hold.window
  placement.unit = hold.unit
  placements[index] = placement
end
local replies = {}
for index, hold in ipairs(holds) do replies[index] = figures(states[keys[index]], hold.limit, false) end
local reservation = cmsgpack.pack({
  id = call.id, idempotencyKey = idempotencyKey, phase = 'open', repeated = false,
  admittedMs = nowMs, leaseMs = call.leaseMs, shadowShort = shadowShort, placements = placements,
  context = ARGV[2], quotas = ARGV[3], part = call.part, elsewhere = call.elsewhere,
})

local forMs = rememberedUntilMs - nowMs
save_states(placements, nowMs)
keep(reservationKey, reservation, forMs)
if not call.part then keep(idempotencyKey, reservationKey, forMs) end
add_lease(leasesKey, reservationKey, nowMs + call.leaseMs, forMs)
return { 'held', clockMs, nowMs, replies, shadowShort }
