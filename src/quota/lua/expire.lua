#!lua flags=allow-oom
-- Ends reservations whose lease ran out, and forgets those whose late report did not come either. Whichever
-- process asks first gets a reservation, so each is told once.
-- KEYS: leases. ARGV: the call { atMost }.
-- Answers 'expired' with what ended; whether there may be more; what of the calendars was missing.

local leasesKey = KEYS[1]
local dueMs = call.momentMs or clockMs
local due = redis.call('ZRANGE', leasesKey, '-inf', whole(dueMs), 'BYSCORE', 'LIMIT', 0, call.atMost)

local ended = {}
for _, reservationKey in ipairs(due) do
  local reservation = load_reservation(reservationKey)
  if not is_live(reservation) then
    redis.call('ZREM', leasesKey, reservationKey)
  else
    local placements = reservation.placements
    local keys, names = keys_of(placements)
    local nowMs = moment_for(keys)
    local gap = uncovered(names, keys, nowMs)
    if gap then return { 'expired', clockMs, ended, 1, gap } end

    if reservation.phase == 'open' then
      for _, placement in ipairs(placements) do end_placement(placement, 'open', nil, nowMs) end
      reservation.phase = 'unsettled'
      local packed = cmsgpack.pack(reservation)
      local forMs = reservation.leaseMs + ORPHANED_MS
      ended[#ended + 1] = told(reservation)
      save_states(placements, nowMs)
      keep(reservationKey, packed, forMs)
      keep(reservation.idempotencyKey, reservationKey, forMs)
      add_lease(leasesKey, reservationKey, dueMs + reservation.leaseMs, forMs)
    else
      for _, placement in ipairs(placements) do let_go(placement, nowMs) end
      local ownsKey = redis.call('GET', reservation.idempotencyKey) == reservationKey
      save_states(placements, nowMs)
      if ownsKey then redis.call('DEL', reservation.idempotencyKey) end
      redis.call('DEL', reservationKey)
      redis.call('ZREM', leasesKey, reservationKey)
    end
  end
end
return { 'expired', clockMs, ended, #due == call.atMost and 1 or 0 }
