-- One exchange. A translation of src/fleet/step/state.rs, which explains the rules; the tests compare both on the same traces.
--
-- `now` and `run` come from clock.lua, which stands in front of this text.
--
-- KEYS[1] is a hash, the whole state of one gate:
--   m           the numbers of the gate, the run, and the ends of the two lists
--   h           the histogram of the wants: pairs of wants and holders
--   by          the name of the operator or program that has set the limit
--   e:HOLDER    the entry: granted, reserved, wants, seq, expiry, grown, ticket
--   p: and n:   the holders before and after this one in the order of the last exchange
--   q: and w:   the same in the queue of the holders that are short of permits
-- All numbers are whole and below 2^53, so they are exact.

local key, holder = KEYS[1], ARGV[1]
local seq, known_epoch, held, wants = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local is_lapsed = ARGV[6] == '1'
local ttl, grace, own_guard = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local offered_limit, offered_version = tonumber(ARGV[10]), tonumber(ARGV[11])

-- ---- The fields of the hash, read once and written at the end ----

local NUMBERS = string.rep(' (%d+)', 11) .. ' (-?%d+) (%d+)'
local fields, stored, changed = {}, {}, {}
local wanted = { 'm', 'e:' .. holder, 'p:' .. holder, 'n:' .. holder, 'q:' .. holder, 'w:' .. holder }
for index, value in ipairs(redis.call('HMGET', key, unpack(wanted))) do
  fields[wanted[index]], stored[wanted[index]] = value, value
end

local function get(field)
  local value = fields[field]
  if value == nil then
    value = redis.call('HGET', key, field)
    fields[field], stored[field] = value, value
  end
  return value
end

-- `false` removes the field.
local function set(field, value)
  fields[field] = value
  changed[field] = true
end

local function read_entry(name)
  local text = get('e:' .. name)
  if not text then return nil end
  local granted, reserved, wants, seq, expiry, grown, ticket = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  return { granted = tonumber(granted), reserved = tonumber(reserved), wants = tonumber(wants), seq = tonumber(seq),
    expiry = tonumber(expiry), grown = tonumber(grown), ticket = tonumber(ticket) }
end

local function write_entry(name, entry)
  set('e:' .. name, string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f', entry.granted, entry.reserved, entry.wants, entry.seq,
    entry.expiry, entry.grown, entry.ticket))
end

-- Doubly linked lists. The ends are in `m`; an empty text stands for none.
local by_age = { before = 'p:', after = 'n:', first = '', last = '' }
local queue = { before = 'q:', after = 'w:', first = '', last = '' }

local function unlink(list, name)
  local before, after = get(list.before .. name), get(list.after .. name)
  if before then set(list.after .. before, after) else list.first = after or '' end
  if after then set(list.before .. after, before) else list.last = before or '' end
  set(list.before .. name, false)
  set(list.after .. name, false)
end

local function append(list, name)
  if list.last == '' then
    list.first = name
  else
    set(list.after .. list.last, name)
    set(list.before .. name, list.last)
  end
  list.last = name
end

-- ---- The state ----

local entry = read_entry(holder)
if entry and seq <= entry.seq then return { 0, entry.seq } end

local layout, epoch, server, clock, learning_until, span, guard, limit, version, exchanges, granted, holders, level, spare = '1',
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -2, 0
local old_run = ''
if fields.m then
  layout = string.match(fields.m, '^(%d+) ')
  if layout ~= '1' then return redis.error_reply('LAYOUT the gate has the layout ' .. tostring(layout) .. ', and this program knows 1') end
  epoch, server, clock, learning_until, span, guard, limit, version, exchanges, granted, holders, level, spare, old_run, by_age.first,
    by_age.last, queue.first, queue.last = string.match(fields.m, '^1' .. NUMBERS .. ' (%S*) (%S*) (%S*) (%S*) (%S*)$')
  epoch, server, clock, learning_until, span = tonumber(epoch), tonumber(server), tonumber(clock), tonumber(learning_until), tonumber(span)
  guard, limit, version, exchanges = tonumber(guard), tonumber(limit), tonumber(version), tonumber(exchanges)
  granted, holders, level, spare = tonumber(granted), tonumber(holders), tonumber(level), tonumber(spare)
end

-- ---- The clock, the terms, and a new epoch after a restart or a loss of state ----

local is_new = epoch == 0
local growth = math.max(0, ttl + grace + own_guard - span)
span = span + growth
guard = is_new and own_guard or math.min(guard, own_guard)
if not is_new then clock = clock + math.min(math.max(0, now - server), guard) end
server = now
if is_new or old_run ~= run or known_epoch > epoch then
  epoch = math.max(math.max(epoch, known_epoch) + 1, now)
  learning_until = clock + span
elseif clock < learning_until then
  learning_until = learning_until + growth
end
local is_learning = clock < learning_until

-- A level of -1 says that the limit covers all wants, and -2 that the level is not known.
if limit == 0 or offered_version > version then
  limit, version, level = offered_limit, offered_version, -2
end

-- ---- The histogram of the wants, read only if the level is to be found ----

local cells, is_changed

local function load_cells()
  if cells then return end
  cells = {}
  for number, count in string.gmatch(get('h') or '', '(%d+) (%d+)') do cells[tonumber(number)] = tonumber(count) end
end

local function round(number)
  local unit = 1
  while number >= 32 * unit do unit = unit * 2 end
  return number - number % unit
end

local function replace_wants(old, new)
  old, new = round(old), round(new)
  if old == new then return end
  load_cells()
  if old > 0 then
    cells[old] = cells[old] - 1
    if cells[old] == 0 then cells[old] = nil end
  end
  if new > 0 then cells[new] = (cells[new] or 0) + 1 end
  level, is_changed = -2, true
end

local function find_level()
  load_cells()
  local order, count, rest = {}, 0, limit
  for number, of_cell in pairs(cells) do
    order[#order + 1] = number
    count = count + of_cell
  end
  table.sort(order)
  if is_changed then
    local texts = {}
    for index, number in ipairs(order) do texts[index] = string.format('%.0f %.0f', number, cells[number]) end
    set('h', table.concat(texts, ' '))
  end
  for _, number in ipairs(order) do
    if number * count > rest then
      level = math.floor(rest / count)
      spare = rest - level * count
      return
    end
    rest = rest - number * cells[number]
    count = count - cells[number]
  end
  level, spare = -1, 0
end

local function full_share(number)
  if level == -1 then return number end
  return math.min(round(number), spare > 0 and level + 1 or level)
end

-- ---- Drop entries that have expired, oldest first ----

for _ = 1, 64 do
  local oldest = by_age.first
  if is_learning or oldest == '' then break end
  local expired = read_entry(oldest)
  if expired.expiry > clock then break end
  unlink(by_age, oldest)
  if expired.ticket > 0 then unlink(queue, oldest) end
  set('e:' .. oldest, false)
  replace_wants(expired.wants, 0)
  granted = granted - expired.granted - expired.reserved
  holders = holders - 1
  if oldest == holder then entry = nil end
end

-- ---- The cap of this holder ----

exchanges = exchanges + 1
if not entry then
  entry = { granted = 0, reserved = 0, wants = 0, seq = 0, expiry = 0, grown = 0, ticket = 0 }
  holders = holders + 1
  append(by_age, holder)
elseif by_age.last ~= holder then
  unlink(by_age, holder)
  append(by_age, holder)
end
replace_wants(entry.wants, wants)
if level == -2 then find_level() end
local full = full_share(wants)

granted = granted - entry.granted - entry.reserved
local room = math.max(0, limit - granted)
local cap = math.min(held, room)
if is_learning then
  if is_lapsed then cap = 0 end
else
  cap = cap + math.min(entry.reserved, math.max(0, full - cap), room - cap)
  if cap >= full then
    if entry.ticket > 0 then unlink(queue, holder) end
    entry.ticket = 0
  elseif entry.ticket == 0 then
    append(queue, holder)
    entry.ticket = exchanges
  end
end
entry.granted, entry.reserved, entry.wants, entry.seq, entry.expiry = math.max(held, cap), 0, wants, seq, clock + span
granted = granted + entry.granted

-- ---- Reserve the room for the holders that have been short of permits for longest ----

if not is_learning then
  for _ = 1, 8 do
    local first = queue.first
    room = math.max(0, limit - granted)
    if room == 0 or first == '' then break end
    local served = first == holder and entry or read_entry(first)
    local unmet = math.max(0, full_share(served.wants) - served.granted - served.reserved)
    local given = math.min(unmet, room)
    granted = granted + given
    served.reserved = served.reserved + given
    if given == unmet then
      unlink(queue, first)
      served.ticket = 0
    end
    if first ~= holder then write_entry(first, served) end
  end
  cap = cap + entry.reserved
  entry.granted, entry.reserved = entry.granted + entry.reserved, 0
end

-- ---- The target, and the end ----

if cap > held then entry.grown = clock end
local target = full
if level >= 0 and cap > level and queue.first ~= '' and clock - entry.grown >= math.floor(ttl / 3) then
  target = math.min(full, level)
end
write_entry(holder, entry)
set('m', string.format('1 %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %s %s %s %s %s', epoch, server, clock,
  learning_until, span, guard, limit, version, exchanges, granted, holders, level, spare, run, by_age.first, by_age.last, queue.first,
  queue.last))

local puts, removals = {}, {}
for field in pairs(changed) do
  local value = fields[field]
  if value then
    puts[#puts + 1] = field
    puts[#puts + 1] = value
  elseif stored[field] ~= false then
    removals[#removals + 1] = field
  end
end
redis.call('HSET', key, unpack(puts))
if #removals > 0 then redis.call('HDEL', key, unpack(removals)) end
return { 1, cap, target, epoch, exchanges, math.max(0, learning_until - clock), limit, version, granted, holders }
