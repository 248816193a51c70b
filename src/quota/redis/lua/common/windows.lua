-- Windows: the cells that amounts are counted in, and how long each of them counts.

local SUB_WINDOWS = 64
-- Longer than any window of its kind.
local PERIOD_MS = {
  minute = 60000, hour = 7200000, day = 172800000, week = 691200000, month = 2764800000, year = 31708800000,
}

-- A window is known by its name: 'sliding 60000', 'calendar day Europe/Berlin', 'calendar fixed 60000' or 'open'. One
-- of a later release, or in a zone that the process that asked does not know, is not guessed at: the error comes before
-- the first write.
local windows = {}

local function window_named(name)
  local window = windows[name]
  if window then return window end
  local length = string.match(name, '^sliding (%d+)$')
  local fixed = string.match(name, '^calendar fixed (%d+)$')
  local period = string.match(name, '^calendar (%l+) ')
  if length then
    window = { kind = 'sliding', lengthMs = tonumber(length) }
  elseif fixed then
    window = { kind = 'fixed', lengthMs = tonumber(fixed), periodMs = tonumber(fixed) }
  elseif period and PERIOD_MS[period] and call.calendars[name] ~= false then
    window = { kind = 'calendar', periodMs = PERIOD_MS[period], starts = call.calendars[name] or {} }
  elseif name == 'open' then
    window = { kind = 'open' }
  else
    error('a window that is not known here')
  end
  windows[name] = window
  return window
end

-- The start of the calendar window around a moment that `uncovered` found to be known.
local function calendar_start(window, atMs)
  local starts = window.starts
  for index = #starts, 1, -1 do
    if starts[index] <= atMs then return starts[index], starts[index + 1] end
  end
end

local function cell_at(window, nowMs)
  if window.kind == 'sliding' then return math.floor(nowMs * SUB_WINDOWS / window.lengthMs) end
  if window.kind == 'calendar' then return (calendar_start(window, nowMs)) end
  if window.kind == 'fixed' then return nowMs - nowMs % window.lengthMs end
  return 0
end

local function oldest_cell_at(window, nowMs)
  local cell = cell_at(window, nowMs)
  return window.kind == 'sliding' and cell - SUB_WINDOWS or cell
end

local function debt_begins_at(window, nowMs)
  local kind = window.kind
  return (kind == 'calendar' or kind == 'fixed') and cell_at(window, nowMs) or nowMs
end

-- For how long the cell counts at most; only for how long state is kept.
local function leaves_in_ms(window, cell, nowMs)
  if window.kind == 'sliding' then
    return math.ceil((cell + SUB_WINDOWS + 1) * window.lengthMs / SUB_WINDOWS) - nowMs
  end
  if window.kind == 'calendar' then
    local _, nextStart = calendar_start(window, nowMs)
    return nextStart - nowMs
  end
  if window.kind == 'fixed' then return cell + window.lengthMs - nowMs end
  return 0
end
