#!lua
-- One turn of a process that decides from slices (../../slices/slice-turns.ts). What it decided becomes reservations like any
-- other, what it needs no more comes back, and new slices are taken. Takes effect once, however often it is asked.
--
-- Only the process whose slice it is (sliced.lua) says what becomes of it, so what it says is believed: a reservation
-- that it made of the slice has the slice's place. A full Redis runs it with the flag allow-oom (scripts.ts), where nothing is
-- to be taken.
-- KEYS: the process's last turn, leases, slices that are due, then of each partition its state and its slices, then
-- of each reservation its own key, and its idempotency key or that of the reservation that it is moved to.
-- ARGV: the call { turn, windows = of each partition the names, adopted = { { id, admittedMs, leaseMs, carriers,
-- holds = { { at, slice, amount, limit, window, unit, generation, cell } }, part, elsewhere, again, moved, to,
-- beforeMs, over } },
-- returned = { { at, slice, amount } }, taken = { { at, slice, amount, least, limit, window, leaseMs } },
-- share = { one, all }, lifeMs }, then context and quotas of each reservation. `at` is the partition's number; `part`
-- and `elsewhere` are as in reserve.lua. `moved`: the part was adopted, and its home was not, since another
-- reservation has the key: `to` is the id of that, where it has a part here; before the moment `beforeMs` this may take its
-- place; `over`: that is forgotten. `again`: its home, which said so, is asked what became of that, by its key.
-- Answers 'turned' with what became of each reservation ('adopted', 'abandoned', 'moved', 'late' where nothing was changed,
-- 'ended' where the other, asked for again, has,
-- or 'known' where another has its key, with its id and what it holds elsewhere if it is live), and of each taking its
-- figures and what was taken; 'outdated' if a later turn was here before.

local MAX_SLICES = 64

local turnKey, leasesKey, dueKey = KEYS[1], KEYS[2], KEYS[3]
local packedTurn = redis.call('GET', turnKey)
local last = packedTurn and cmsgpack.unpack(packedTurn)
if last and last.turn == call.turn then return { 'turned', clockMs, last.adopted, last.taken } end
if last and last.turn > call.turn then return { 'outdated', clockMs } end

local firstReservation = 3 + 2 * #call.windows

for at, names in ipairs(call.windows) do
  local partition, gap = load_slices(KEYS[2 + 2 * at], KEYS[3 + 2 * at], names)
  if gap then return gap end
  partitions[at] = partition
end

local answers = {}
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
