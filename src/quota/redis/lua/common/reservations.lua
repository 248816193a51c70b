-- Reservations: what one request holds, and the answers that carry it.

-- Answers that carry one reservation; of more it is not known who they are.
local MAX_CARRIERS = 16

-- phase: 'open', 'unsettled' (its lease ran out, a report may still come), 'ended' (only its idempotency key is
-- still known), 'abandoned' (nothing is held, and nothing may be under this id any more), 'alias' (answers that went out
-- with this id carry the reservation under the key `of`).
local function load_reservation(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or nil
end

-- The reservation that answers with this id carry, and its own key.
local function find_reservation(key)
  local reservation = load_reservation(key)
  if not reservation or reservation.phase ~= 'alias' then return reservation, key end
  return load_reservation(reservation.of), reservation.of
end

local function is_live(reservation)
  return reservation and (reservation.phase == 'open' or reservation.phase == 'unsettled')
end

-- The calls whose answers carry the reservation, or its part in this bucket (quota/carriers.ts). Nil: not all are known,
-- since there are too many, or since one was answered by an older release, which only says that there are several.
local function carriers_of(reservation)
  local carriers = reservation.carriers or { reservation.id }
  if reservation.repeated == (#carriers > 1) then return carriers end
end

local function is_carried_by(reservation, carrier)
  for _, each in ipairs(carriers_of(reservation) or {}) do
    if each == carrier then return true end
  end
  return false
end

local function set_carriers(reservation, carriers)
  reservation.carriers = #carriers <= MAX_CARRIERS and carriers or nil
  reservation.repeated = #carriers > 1
end

local function carry(reservation, carrier)
  local carriers = carriers_of(reservation)
  if not carriers or is_carried_by(reservation, carrier) then return end
  carriers[#carriers + 1] = carrier
  set_carriers(reservation, carriers)
end

local function save_carriers(key, reservation)
  redis.call('SET', key, cmsgpack.pack(reservation), 'KEEPTTL')
end

local function keys_of(placements)
  local keys, names = {}, {}
  for index, placement in ipairs(placements) do
    keys[index] = placement.key
    names[index] = placement.window
  end
  return keys, names
end

-- Leases by the moment their phase is over; the set is kept as long as the last of them may matter.
local function add_lease(key, reservationKey, dueMs, forMs)
  redis.call('ZADD', key, whole(dueMs), reservationKey)
  if redis.call('PTTL', key) < forMs + KEPT_MS then
    redis.call('PEXPIRE', key, whole(math.min(MAX_TTL_MS, forMs + KEPT_MS)))
  end
end

-- What the process needs to know of a reservation that it may not have made. Context and quotas are its own texts,
-- `elsewhere` is what it holds in other buckets: position among all its holds, key and amount of each.
local function told(reservation)
  local holds = {}
  for index, placement in ipairs(reservation.placements) do
    holds[index] = { placement.key, whole(placement.amount) }
  end
  return {
    reservation.id, reservation.admittedMs, reservation.context, reservation.quotas, holds, reservation.elsewhere or {},
  }
end

-- Has the reservation its idempotency key still? Parts away from its home have none.
local function owns_key(reservation, reservationKey)
  return not reservation.part and redis.call('GET', reservation.idempotencyKey) == reservationKey
end

-- Where the reservation's partitions stand, as its own quotas see them; what was saved before is not changed.
local function figures_of(placements, nowMs)
  local replies = {}
  for index, placement in ipairs(placements) do
    local state = load_state(placement.key)
    if state then see(state, placement.window, nowMs) end
    replies[index] = figures(state, placement.limit, false)
  end
  return replies
end

-- Ends what a placement holds, whether it counts or not. `actual`: what it came to; nil: the lease ran out.
-- The state is saved by the caller.
local function end_placement(placement, phase, actual, nowMs)
  local state = load_state(placement.key)
  if not state then
    state = new_state(placement.window, placement.limit, nowMs)
    states[placement.key] = state
  end
  advance(state, nowMs)
  local counted = placement.counted
  local open = window_named(state.window).kind == 'open'
  local spent = open and 0 or math.min(actual or counted, counted)
  if phase == 'open' then
    change(state, placement, spent, -counted)
  elseif not open then
    -- What the lease left as spent in full comes down to what was used.
    change(state, placement, spent - counted, 0)
  end
  local debt = 0
  if actual and not open then debt = math.max(0, actual - placement.amount) end
  if debt > 0 then add_debt(state, debt, nowMs) end
  return debt
end

-- The reservation that is placed here can change nothing more.
local function let_go(placement, nowMs)
  local state = load_state(placement.key)
  if not state then return end
  -- Also where it is another's by now: what is saved is up to date.
  advance(state, nowMs)
  if belongs(state, placement) then state.holders = math.max(0, state.holders - 1) end
end

local function save_states(placements, nowMs)
  local saved = {}
  for _, placement in ipairs(placements) do
    local key = placement.key
    if not saved[key] and load_state(key) then save_state(key, states[key], nowMs) end
    saved[key] = true
  end
end
