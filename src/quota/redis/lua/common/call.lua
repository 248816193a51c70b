-- What every script of the ledger begins with. The arithmetic of the files beside this one is that of
-- quota/windows, name by name; figures derived from it (waits, what is left) are computed by the process that asked.
--
-- Rules of the scripts: the moment comes from Redis. Everything is read and decided before the first write, and
-- nothing that can fail stands between two writes: a script that is stopped by an error has changed nothing.
-- Numbers are doubles, whole and below 2^53. Amounts leave as text, by `whole`: tostring() keeps 14 digits, and the
-- client reads integers near 2^53 off by one.

-- One argument says what is asked, as JSON. `untilMs`: the moment before which the call may take effect.
-- `momentMs`: given by tests alone, counts instead of Redis's own moment. `calendars`: for each calendar window
-- by its name, first milliseconds of windows that follow each other; the last ends the one before it; false where the
-- process that asked does not know the time zone.
local call = cjson.decode(ARGV[1])

local time = redis.call('TIME')
local clockMs = time[1] * 1000 + math.floor(time[2] / 1000)
if call.untilMs and clockMs >= call.untilMs then return { 'late', clockMs } end

local MAX_EXACT = 9007199254740991
-- State is kept a minute longer than it counts, so that a clock that is set back by less finds it.
local KEPT_MS = 60000
-- A reservation that no `expire` ended, because no process was there, is kept for another day.
local ORPHANED_MS = 86400000
local MAX_TTL_MS = 1e13

local function whole(number)
  return string.format('%d', number)
end
