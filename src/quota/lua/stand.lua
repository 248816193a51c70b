#!lua flags=no-writes
-- Where the partitions of a part of a reservation stand, also when it has ended; changes nothing.
-- KEYS: the part, then the partitions that it is in. Answers 'stands' or 'unknown'.

local reservation = load_reservation(KEYS[1])
if not reservation or reservation.phase == 'abandoned' then return { 'unknown', clockMs } end
local keys, names = keys_of(reservation.placements)
local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end
return { 'stands', clockMs, nowMs, figures_of(reservation.placements, nowMs), reservation.shadowShort }
