#!lua
-- One turn of a process that decides from slices (../slice-turns.ts). What it decided becomes reservations like any
-- other, what it needs no more comes back, and new slices are taken. Takes effect once, however often it is asked.
--
-- Only the process whose slice it is (sliced.lua) says what becomes of it, so what it says is believed: a reservation
-- that it made of the slice has the slice's place.
-- KEYS: the process's last turn, leases, slices that are due, then of each partition its state and its slices, then
-- of each reservation its own key, and its idempotency key or that of the reservation that it is moved to.
-- ARGV: the call { turn, windows = of each partition the names, adopted = { { id, admittedMs, leaseMs, carriers,
-- holds = { { at, slice, amount, limit, window, unit, generation, cell } }, part, elsewhere, moved, to } },
-- returned = { { at, slice, amount } }, taken = { { at, slice, amount, least, limit, window, leaseMs } },
-- share = { one, all }, lifeMs }, then context and quotas of each reservation. `at` is the partition's number; `part`
-- and `elsewhere` are as in reserve.lua. `moved`: the part was adopted, and its home was not, since another
-- reservation has the key: `to` is the id of that, where it has a part here.
-- Answers 'turned' with what became of each reservation ('adopted', 'abandoned', 'moved', or 'known' where another has its
-- key, with its id and what it holds elsewhere if it is live), and of each taking its figures and what was taken;
-- 'outdated' if a later turn was here before.

local MAX_SLICES = 64

local turnKey, leasesKey, dueKey = KEYS[1], KEYS[2], KEYS[3]
local packedTurn = redis.call('GET', turnKey)
local last = packedTurn and cmsgpack.unpack(packedTurn)
if last and last.turn == call.turn then return { 'turned', clockMs, last.adopted, last.taken } end
if last and last.turn > call.turn then return { 'outdated', clockMs } end

local partitions = {}
local firstReservation = 3 + 2 * #call.windows

for at, names in ipairs(call.windows) do
  local partition, gap = load_slices(KEYS[2 + 2 * at], KEYS[3 + 2 * at], names)
  if gap then return gap end
  partitions[at] = partition
end

local function slice_of(part)
  for _, slice in ipairs(partitions[part.at].slices) do
    if slice.id == part.slice then return slice end
  end
end

local function is_open(name)
  return window_named(name).kind == 'open'
end

-- Reservations ----------------------------------------------------------------------------------------------

local answers, reservations, repeats, aliases, gone = {}, {}, {}, {}, {}

local function carry_all(reservation, carriers)
  for _, carrier in ipairs(carriers or {}) do carry(reservation, carrier) end
  if not carriers then reservation.carriers, reservation.repeated = nil, true end
end

local function adopt(asked, reservationKey, idempotencyKey, context, quotas)
  local same = load_reservation(reservationKey)
  if same and same.phase ~= 'alias' then return same.phase == 'abandoned' and 'abandoned' or 'adopted' end
  local knownKey = not asked.part and redis.call('GET', idempotencyKey)
  local known = knownKey and load_reservation(knownKey)
  if known and known.phase ~= 'abandoned' then
    -- Another process was asked too: its reservation is carried by these answers as well.
    carry_all(known, asked.carriers)
    repeats[#repeats + 1] = { key = knownKey, packed = cmsgpack.pack(known) }
    if not is_live(known) then return { 'known' } end
    -- They have gone out with another id, which their report may bring to any process. As long as a late one settles.
    local packed = cmsgpack.pack({ phase = 'alias', of = knownKey })
    aliases[#aliases + 1] = { key = reservationKey, packed = packed, forMs = 2 * asked.leaseMs }
    local answer = { 'known', known.id }
    for index, each in ipairs(known.elsewhere or {}) do answer[index + 2] = each[2] end
    return answer
  end
  local forMs = 2 * asked.leaseMs + ORPHANED_MS
  local placements = {}
  for index, part in ipairs(asked.holds) do
    local partition = partitions[part.at]
    local slice = slice_of(part)
    if slice then slice.left = math.max(0, slice.left - part.amount) end
    local placement = {
      key = partition.key, amount = part.amount, limit = part.limit, window = part.window, unit = part.unit,
      generation = part.generation, cell = part.cell,
      -- A slice of an open window that is gone has given its places back.
      counted = (slice or not is_open(part.window)) and part.amount or 0,
    }
    local state = load_state(partition.key)
    if state and belongs(state, placement) then
      state.holders = state.holders + 1
      state.heldUntilMs = math.max(state.heldUntilMs, partition.nowMs + forMs)
    end
    placements[index] = placement
  end
  reservations[#reservations + 1] = {
    key = reservationKey, idempotencyKey = not asked.part and idempotencyKey,
    dueMs = asked.admittedMs + asked.leaseMs, forMs = forMs,
    packed = cmsgpack.pack({
      id = asked.id, idempotencyKey = idempotencyKey, phase = 'open',
      carriers = asked.carriers, repeated = not asked.carriers or #asked.carriers > 1,
      admittedMs = asked.admittedMs, leaseMs = asked.leaseMs, shadowShort = {}, placements = placements,
      context = context, quotas = quotas, part = asked.part, elsewhere = asked.elsewhere,
    }),
  }
  return 'adopted'
end

-- Another reservation has the key. The answers that went out with this one carry its part here, and what this one holds
-- is given back. Where it has none any more, as nobody carried it, this one takes its place, since what has passed stays
-- held; if its report was here already, this is what the report ended (end.lua).
local function move(asked, ownKey, otherKey)
  local own = load_reservation(ownKey)
  local other = asked.to and load_reservation(otherKey)
  local isThere = other and other.phase ~= 'abandoned'
  if isThere then
    carry_all(other, asked.carriers)
    repeats[#repeats + 1] = { key = otherKey, packed = cmsgpack.pack(other) }
  end
  if not is_live(own) then return 'moved' end
  gone[#gone + 1] = ownKey
  local actuals = other and other.actuals
  if asked.to and not isThere and not actuals then
    own.id = asked.to
    -- Its own call may come yet, unless that was given up here.
    own.moved = not other or nil
    own.carriers, own.repeated = asked.carriers, not asked.carriers or #asked.carriers > 1
    local leases = own.phase == 'open' and 1 or 2
    reservations[#reservations + 1] = {
      key = otherKey, dueMs = own.admittedMs + leases * own.leaseMs, forMs = 2 * own.leaseMs + ORPHANED_MS,
      packed = cmsgpack.pack(own),
    }
    return 'moved'
  end
  for index, part in ipairs(asked.holds) do
    local placement, nowMs = own.placements[index], partitions[part.at].nowMs
    local actual = actuals and not isThere and (actuals[placement.unit] or placement.amount) or 0
    end_placement(placement, own.phase, actual, nowMs)
    let_go(placement, nowMs)
  end
  if actuals and not isThere then
    -- Once: a third process may come with its own.
    own.phase = 'ended'
    repeats[#repeats + 1] = { key = otherKey, packed = cmsgpack.pack(own) }
  end
  return 'moved'
end

for index, asked in ipairs(call.adopted) do
  local at = firstReservation + 2 * index - 1
  if asked.moved then
    answers[index] = move(asked, KEYS[at], KEYS[at + 1])
  else
    answers[index] = adopt(asked, KEYS[at], KEYS[at + 1], ARGV[2 * index], ARGV[2 * index + 1])
  end
end

-- What comes back -------------------------------------------------------------------------------------------

for _, part in ipairs(call.returned) do
  local slice = slice_of(part)
  local state = load_state(partitions[part.at].key)
  if slice and state then
    local amount = math.min(part.amount, slice.left)
    slice.left = slice.left - amount
    change(state, slice, 0, -amount)
  end
end

for _, partition in ipairs(partitions) do tidy_slices(partition) end

-- What is taken ---------------------------------------------------------------------------------------------

-- All slices of a partition together are at most a part of what is free: so much at most can be lost with the
-- processes that hold them.
local function share_of(partition, state, asked)
  local sliced = 0
  for _, slice in ipairs(partition.slices) do sliced = sliced + slice.left end
  local free = room_in(state, asked.limit) + sliced
  local amount = math.min(asked.amount, math.floor(free / call.share.one), math.floor(free / call.share.all) - sliced)
  if amount < asked.least or #partition.slices >= MAX_SLICES then return 0 end
  return amount
end

local function first_ms_after(window, cell, nowMs)
  if window.kind == 'sliding' then return math.ceil((cell + 1) * window.lengthMs / SUB_WINDOWS) end
  if window.kind == 'calendar' then
    local _, nextStart = calendar_start(window, nowMs)
    return nextStart
  end
  if window.kind == 'fixed' then return cell + window.lengthMs end
  if window.kind == 'open' then return math.huge end
  error('a window of which the first moment after a cell is not known')
end

local function take(asked)
  local partition = partitions[asked.at]
  local nowMs = partition.nowMs
  local state = load_state(partition.key)
  if state then
    see(state, asked.window, nowMs)
    state.limit = asked.limit
  end
  local amount = share_of(partition, state, asked)
  if amount == 0 then return { figures(state, asked.limit, false), whole(nowMs) } end
  if not state then
    state = new_state(asked.window, asked.limit, nowMs)
    states[partition.key] = state
  end
  local window = window_named(asked.window)
  local slice = place(state, amount, nowMs)
  slice.id = asked.slice
  slice.left = amount
  slice.counted = nil
  local heldMs = call.lifeMs
  if window.kind == 'open' then
    heldMs = heldMs + asked.leaseMs
    slice.dueMs = nowMs + heldMs
  end
  state.holders = state.holders + 1
  state.heldUntilMs = math.max(state.heldUntilMs, nowMs + heldMs)
  partition.slices[#partition.slices + 1] = slice
  local endMs = math.min(nowMs + call.lifeMs, first_ms_after(window, slice.cell, nowMs))
  slice.overMs = endMs
  return {
    figures(state, asked.limit, false), whole(nowMs),
    whole(amount), whole(endMs), whole(slice.generation), whole(slice.cell),
  }
end

local taken = {}
for index, asked in ipairs(call.taken) do taken[index] = take(asked) end

-- Writes ----------------------------------------------------------------------------------------------------

local turn = cmsgpack.pack({ turn = call.turn, adopted = answers, taken = taken })

for _, known in ipairs(repeats) do redis.call('SET', known.key, known.packed, 'KEEPTTL') end
for _, alias in ipairs(aliases) do keep(alias.key, alias.packed, alias.forMs) end
for _, reservation in ipairs(reservations) do
  keep(reservation.key, reservation.packed, reservation.forMs)
  if reservation.idempotencyKey then keep(reservation.idempotencyKey, reservation.key, reservation.forMs) end
  add_lease(leasesKey, reservation.key, reservation.dueMs, reservation.forMs)
end
for _, reservationKey in ipairs(gone) do
  redis.call('DEL', reservationKey)
  redis.call('ZREM', leasesKey, reservationKey)
end
for _, partition in ipairs(partitions) do
  save_slices(partition, dueKey)
  local state = load_state(partition.key)
  if state then save_state(partition.key, state, partition.nowMs) end
end
keep(turnKey, turn, ORPHANED_MS)
return { 'turned', clockMs, answers, taken }
