#!lua
-- One turn of a process that decides from slices (../slice-turns.ts). What it decided becomes reservations like any
-- other, what it needs no more comes back, and new slices are taken. Takes effect once, however often it is asked.
--
-- A slice is an amount that is reserved in the cell of now for one process. Only that process says what becomes of
-- it, so what it says is believed: a reservation that it made of the slice has the slice's place. A partition lists
-- its slices as { id, left, generation, cell, dueMs, overMs }: `left` is what is neither adopted nor back, and from
-- `overMs` on nothing is admitted from it.
-- KEYS: the process's last turn, leases, slices that are due, then of each partition its state and its slices, then
-- of each reservation its own key and its idempotency key.
-- ARGV: the call { turn, windows = of each partition the names, adopted = { { id, admittedMs, leaseMs, carriers,
-- holds = { { at, slice, amount, limit, window, unit, generation, cell } } } }, returned = { { at, slice, amount } },
-- taken = { { at, slice, amount, least, limit, window, leaseMs } }, share = { one, all }, lifeMs, sweep },
-- then context and quotas of each reservation. `at` is the partition's number.
-- Answers 'turned' with what became of each reservation ('adopted', 'abandoned', or 'known' where another has its key),
-- and of each taking its figures and what was taken; 'outdated' if a later turn was here before.

local MAX_SLICES = 64
local MAX_SWEPT = 32

local turnKey, leasesKey, dueKey = KEYS[1], KEYS[2], KEYS[3]
local packedTurn = redis.call('GET', turnKey)
local last = packedTurn and cmsgpack.unpack(packedTurn)
if last and last.turn == call.turn then return { 'turned', clockMs, last.adopted, last.taken } end
if last and last.turn > call.turn then return { 'outdated', clockMs } end

local partitions = {}
local firstReservation = 3 + 2 * #call.windows

-- Brings the partition up to date; answers the gap in the calendars, if there is one.
local function look_at(key, slicesKey, names)
  local nowMs = moment_for({ key })
  local gap = uncovered(names, { key }, nowMs)
  if gap then return gap end
  local packed = redis.call('GET', slicesKey)
  local state = load_state(key)
  if state then advance(state, nowMs) end
  partitions[#partitions + 1] = {
    key = key, slicesKey = slicesKey, nowMs = nowMs, slices = packed and cmsgpack.unpack(packed).slices or {},
  }
end

for at, names in ipairs(call.windows) do
  local gap = look_at(KEYS[2 + 2 * at], KEYS[3 + 2 * at], names)
  if gap then return gap end
end

-- Places of processes that died are free again when the lease of what they may have admitted is over.
local swept = {}
if call.sweep then
  local seen = {}
  for _, partition in ipairs(partitions) do seen[partition.slicesKey] = true end
  local dueMs = call.momentMs or clockMs
  for _, slicesKey in ipairs(redis.call('ZRANGE', dueKey, '-inf', whole(dueMs), 'BYSCORE', 'LIMIT', 0, MAX_SWEPT)) do
    local packed = redis.call('GET', slicesKey)
    if not packed then
      swept[#swept + 1] = slicesKey
    elseif not seen[slicesKey] then
      -- One that this release cannot read is left to those that can.
      local read, gap = pcall(look_at, cmsgpack.unpack(packed).key, slicesKey, {})
      if read and gap then return gap end
    end
  end
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

local answers, reservations, repeats, aliases = {}, {}, {}, {}

local function adopt(asked, reservationKey, idempotencyKey, context, quotas)
  local same = load_reservation(reservationKey)
  if same and same.phase ~= 'alias' then return same.phase == 'abandoned' and 'abandoned' or 'adopted' end
  local knownKey = redis.call('GET', idempotencyKey)
  local known = knownKey and load_reservation(knownKey)
  if known and known.phase ~= 'abandoned' then
    -- Another process was asked too: its reservation is carried by these answers as well.
    for _, carrier in ipairs(asked.carriers or {}) do carry(known, carrier) end
    if not asked.carriers then known.carriers, known.repeated = nil, true end
    repeats[#repeats + 1] = { key = knownKey, packed = cmsgpack.pack(known) }
    -- They have gone out with another id, which their report may bring to any process. As long as a late one settles.
    if is_live(known) then
      local packed = cmsgpack.pack({ phase = 'alias', of = knownKey })
      aliases[#aliases + 1] = { key = reservationKey, packed = packed, forMs = 2 * asked.leaseMs }
    end
    return 'known'
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
    key = reservationKey, idempotencyKey = idempotencyKey, dueMs = asked.admittedMs + asked.leaseMs, forMs = forMs,
    packed = cmsgpack.pack({
      id = asked.id, idempotencyKey = idempotencyKey, phase = 'open',
      carriers = asked.carriers, repeated = not asked.carriers or #asked.carriers > 1,
      admittedMs = asked.admittedMs, leaseMs = asked.leaseMs, shadowShort = {}, placements = placements,
      context = context, quotas = quotas,
    }),
  }
  return 'adopted'
end

for index, asked in ipairs(call.adopted) do
  local at = firstReservation + 2 * index - 1
  answers[index] = adopt(asked, KEYS[at], KEYS[at + 1], ARGV[2 * index], ARGV[2 * index + 1])
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

-- Forgets slices of which nothing is left, or that count no more.
local function tidy(partition)
  local state = load_state(partition.key)
  local nowMs = partition.nowMs
  local kept = {}
  for _, slice in ipairs(partition.slices) do
    local counts = state and locate(state, slice) >= oldest_cell_at(window_named(state.window), nowMs)
    if counts and slice.dueMs and slice.dueMs <= nowMs then
      change(state, slice, 0, -slice.left)
      counts = false
    end
    if counts and slice.left > 0 then
      kept[#kept + 1] = slice
    elseif state and belongs(state, slice) then
      state.holders = math.max(0, state.holders - 1)
    end
  end
  partition.slices = kept
end

for _, partition in ipairs(partitions) do tidy(partition) end

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

-- The slices of a partition; those of an open window are due some day.
local function save_slices(partition)
  local slices, nowMs = partition.slices, partition.nowMs
  if #slices == 0 then
    redis.call('DEL', partition.slicesKey)
    redis.call('ZREM', dueKey, partition.slicesKey)
    return
  end
  local state = load_state(partition.key)
  local window = window_named(state.window)
  local forMs, firstDueMs = 0, nil
  for _, slice in ipairs(slices) do
    if slice.dueMs then
      forMs = math.max(forMs, slice.dueMs - nowMs)
      firstDueMs = math.min(firstDueMs or slice.dueMs, slice.dueMs)
    else
      forMs = math.max(forMs, leaves_in_ms(window, locate(state, slice), nowMs))
    end
  end
  keep(partition.slicesKey, cmsgpack.pack({ key = partition.key, slices = slices }), forMs)
  if firstDueMs then add_lease(dueKey, partition.slicesKey, firstDueMs, forMs) end
end

for _, known in ipairs(repeats) do redis.call('SET', known.key, known.packed, 'KEEPTTL') end
for _, alias in ipairs(aliases) do keep(alias.key, alias.packed, alias.forMs) end
for _, reservation in ipairs(reservations) do
  keep(reservation.key, reservation.packed, reservation.forMs)
  keep(reservation.idempotencyKey, reservation.key, reservation.forMs)
  add_lease(leasesKey, reservation.key, reservation.dueMs, reservation.forMs)
end
for _, partition in ipairs(partitions) do
  save_slices(partition)
  local state = load_state(partition.key)
  if state then save_state(partition.key, state, partition.nowMs) end
end
for _, slicesKey in ipairs(swept) do redis.call('ZREM', dueKey, slicesKey) end
keep(turnKey, turn, ORPHANED_MS)
return { 'turned', clockMs, answers, taken }
