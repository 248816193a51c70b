#!lua flags=no-writes
-- The reservation, while it is open or its late report would still settle it.
-- KEYS: reservation. Answers 'found', under the reservation's own id, or 'unknown'.

local reservation = find_reservation(KEYS[1])
if not is_live(reservation) then return { 'unknown', clockMs } end
return { 'found', clockMs, told(reservation) }
