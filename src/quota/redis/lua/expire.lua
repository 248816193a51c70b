#!lua flags=allow-oom
-- Ends reservations whose lease ran out, and forgets those whose late report did not come either. Whichever
-- process asks first gets a reservation, so each is told once. Slices whose process died with them come back as well.
-- KEYS: leases. ARGV: the call { atMost, due = the key of the slices that are due }. What these are of is found here,
-- so this must not run at a node of a cluster which their slot is being moved to: what has not come yet would look as
-- if it never was. Where the slot is moved away, what is gone already cannot be read; nothing is written of a
-- reservation, or a slice, before all of it was read.
-- Answers 'expired' with what ended, except for parts away from their home; whether there may be more; what of the calendars was missing.

local leasesKey = KEYS[1]
local dueMs = call.momentMs or clockMs
local due = redis.call('ZRANGE', leasesKey, '-inf', whole(dueMs), 'BYSCORE', 'LIMIT', 0, call.atMost)

-- What cannot be read here keeps no other lease from running out, as a partition with a window of a later release, or
-- what has gone to another node already: its own is looked at again after this.
local UNREADABLE_MS = 60000

-- All that is read of a reservation. An error beyond would take along what had ended before it, told to nobody.
local function look_at(reservationKey)
  local reservation = load_reservation(reservationKey)
  if not is_live(reservation) then return nil end
  local keys, names = keys_of(reservation.placements)
  local nowMs = moment_for(keys)
  return reservation, nowMs, uncovered(names, keys, nowMs), owns_key(reservation, reservationKey)
end

local ended = {}
for _, reservationKey in ipairs(due) do
  local isReadable, reservation, nowMs, gap, ownsKey = pcall(look_at, reservationKey)
  if not isReadable then
    add_lease(leasesKey, reservationKey, dueMs + UNREADABLE_MS, ORPHANED_MS)
  elseif not reservation then
    redis.call('ZREM', leasesKey, reservationKey)
  else
    if gap then return { 'expired', clockMs, ended, 1, gap } end
    local placements = reservation.placements
    if reservation.phase == 'open' then
      for _, placement in ipairs(placements) do end_placement(placement, 'open', nil, nowMs) end
      reservation.phase = 'unsettled'
      local packed = cmsgpack.pack(reservation)
      local forMs = reservation.leaseMs + ORPHANED_MS
      if not reservation.part then ended[#ended + 1] = told(reservation) end
      save_states(placements, nowMs)
      keep(reservationKey, packed, forMs)
      if ownsKey then keep(reservation.idempotencyKey, reservationKey, forMs) end
      add_lease(leasesKey, reservationKey, dueMs + reservation.leaseMs, forMs)
    else
      for _, placement in ipairs(placements) do let_go(placement, nowMs) end
      save_states(placements, nowMs)
      if ownsKey then redis.call('DEL', reservation.idempotencyKey) end
      redis.call('DEL', reservationKey)
      redis.call('ZREM', leasesKey, reservationKey)
    end
  end
end

-- Open windows alone have slices that are due: what was in flight, or may have been, has its lease behind it.
local function look_at_slices(slicesKey)
  local packed = redis.call('GET', slicesKey)
  if not packed then return nil end
  local partition, gap = load_slices(cmsgpack.unpack(packed).key, slicesKey, {})
  if gap then error('a window that slices have no calendar of') end
  -- It is kept for as long as its slices are: it has gone to another node, and they will.
  if not load_state(partition.key) then error('a partition that is not here') end
  tidy_slices(partition)
  return partition
end

local isThere, dueSlices = pcall(redis.call, 'ZRANGE', call.due, '-inf', whole(dueMs), 'BYSCORE', 'LIMIT', 0, call.atMost)
if not isThere then dueSlices = {} end
for _, slicesKey in ipairs(dueSlices) do
  local isReadable, partition = pcall(look_at_slices, slicesKey)
  if not isReadable then
    add_lease(call.due, slicesKey, dueMs + UNREADABLE_MS, ORPHANED_MS)
  elseif not partition then
    redis.call('ZREM', call.due, slicesKey)
  else
    save_slices(partition, call.due)
    if load_state(partition.key) then save_state(partition.key, states[partition.key], partition.nowMs) end
  end
end
local isMore = #due == call.atMost or #dueSlices == call.atMost
return { 'expired', clockMs, ended, isMore and 1 or 0 }
