-- One exchange. A translation of src/fleet/step/state.rs, which explains the rules; the tests compare both on the same traces.
--
-- `now` and `run` come from clock.lua, which stands in front of this text.
--
-- ARGV has the holder, and its numbers in MessagePack, because that is several times as fast as text.
--
-- KEYS[1] is a hash, the whole state of one gate. These values are in MessagePack, too:
--   m           the layout, the numbers of the gate, the run, and the ends of the two lists; an empty text stands for no holder
--   h           the histogram of the wants: an array of cells, each with the largest wants in it, its holders, and the sum of their wants
--   e:HOLDER    the entry: granted, reserved, wants, seq, expiry, grown, ticket
-- and these are plain texts:
--   by          the name of the operator or program that has set the limit
--   p: and n:   the holders before and after this one in the order of the last exchange
--   q: and w:   the same in the queue of the holders that are short of permits
-- All numbers are whole and below 2^53, so they are exact.

local floor, max, min = math.floor, math.max, math.min
local key, holder = KEYS[1], ARGV[1]
local seq, known_epoch, held, wants, lapsed, ttl, grace, own_guard, offered_limit, offered_version = cmsgpack.unpack(ARGV[2])
local is_lapsed = lapsed == 1

-- ---- The fields of the hash, read once and written at the end ----

local own_entry, own_before, own_after = 'e:' .. holder, 'p:' .. holder, 'n:' .. holder
local stored = redis.call('HMGET', key, 'm', own_entry, own_before, own_after)
local fields, changed = { [own_before] = stored[3], [own_after] = stored[4] }, {}

local function get(field)
  local value = fields[field]
  if value == nil then
    value = redis.call('HGET', key, field)
    fields[field] = value
  end
  return value
end

-- `false` removes the field.
local function set(field, value)
  fields[field] = value
  changed[#changed + 1] = field
end

local function read_entry(name, packed)
  local is_packed, granted, reserved, wants, seq, expiry, grown, ticket, rest = pcall(cmsgpack.unpack, packed)
  if not is_packed or type(ticket) ~= 'number' or rest then error('the entry of ' .. name .. ' cannot be read; delete the key of the gate') end
  return { granted = granted, reserved = reserved, wants = wants, seq = seq, expiry = expiry, grown = grown, ticket = ticket }
end

local function pack_entry(entry)
  return cmsgpack.pack(entry.granted, entry.reserved, entry.wants, entry.seq, entry.expiry, entry.grown, entry.ticket)
end

-- Doubly linked lists. The ends are in `m`. The link before the first entry and the link after the last entry are ignored and may be
-- outdated, so a move from the head to the end writes two fields.
local by_age = { before = 'p:', after = 'n:', first = '', last = '' }
local queue = { before = 'q:', after = 'w:', first = '', last = '' }

local function unlink(list, name)
  local before = name ~= list.first and get(list.before .. name)
  local after = name ~= list.last and get(list.after .. name)
  if before and after then
    set(list.after .. before, after)
    set(list.before .. after, before)
  end
  if not before then list.first = after or '' end
  if not after then list.last = before or '' end
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

local entry = stored[2] and read_entry(holder, stored[2])
if entry and seq <= entry.seq then return { 0, entry.seq } end

local epoch, server, clock, learning_until, span, guard, limit, version, exchanges, granted, holders, level, spare, old_run = 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -2, 0, ''
if stored[1] then
  local is_packed, layout
  is_packed, layout, epoch, server, clock, learning_until, span, guard, limit, version, exchanges, granted, holders, level, spare, old_run,
    by_age.first, by_age.last, queue.first, queue.last = pcall(cmsgpack.unpack, stored[1])
  if is_packed and layout ~= 1 then
    return redis.error_reply('LAYOUT the gate has the layout ' .. tostring(layout) .. ', and this program knows 1')
  end
  if not is_packed or type(queue.last) ~= 'string' then
    return redis.error_reply('LAYOUT the state of the gate cannot be read; delete its key')
  end
end

-- ---- The clock, the terms, and a new epoch after a restart or a loss of state ----

local is_new = epoch == 0
local growth = max(0, ttl + grace + own_guard - span)
span = span + growth
guard = is_new and own_guard or min(guard, own_guard)
if not is_new then clock = clock + min(max(0, now - server), guard) end
server = now
if is_new or old_run ~= run or known_epoch > epoch then
  epoch = max(max(epoch, known_epoch) + 1, now)
  learning_until = clock + span
elseif clock < learning_until then
  learning_until = learning_until + growth
end
local is_learning = clock < learning_until

-- A level of -1 means that the limit covers all wants, and -2 that the level must be computed.
if limit == 0 or offered_version > version then
  limit, version, level = offered_limit, offered_version, -2
end

-- ---- The histogram of the wants, read only if the level is to be found ----

local cells

local function load_cells()
  local packed = get('h')
  cells = packed and cmsgpack.unpack(packed) or {}
end

-- Returns the largest wants in the cell of these wants.
local function most_in_cell(number)
  local unit = 1
  while number >= 32 * unit do unit = unit * 2 end
  return number - number % unit + unit - 1
end

-- Adds a holder with these wants to its cell, or removes one. A cell without holders is removed. The wants 0 have no cell.
local function change_cell(number, change)
  if number == 0 then return end
  local most, at = most_in_cell(number), 1
  while cells[at] and cells[at] < most do at = at + 3 end
  if cells[at] ~= most then
    for _, value in ipairs({ number, change, most }) do table.insert(cells, at, value) end
  elseif cells[at + 1] + change == 0 then
    for _ = 1, 3 do table.remove(cells, at) end
  else
    cells[at + 1] = cells[at + 1] + change
    cells[at + 2] = cells[at + 2] + change * number
  end
end

local function replace_wants(old, new)
  if old == new then return end
  if not cells then load_cells() end
  change_cell(old, -1)
  change_cell(new, 1)
  level = -2
end

local function find_level()
  if cells then set('h', cmsgpack.pack(cells)) else load_cells() end
  local count, rest = 0, limit
  for at = 1, #cells, 3 do count = count + cells[at + 1] end
  for at = 1, #cells, 3 do
    local others = count - cells[at + 1]
    if cells[at + 2] + cells[at] * others > rest then
      level = floor(rest / count)
      spare = rest - level * count
      return
    end
    rest = rest - cells[at + 2]
    count = others
  end
  level, spare = -1, 0
end

local function full_share(number)
  if level == -1 then return number end
  return min(number, spare > 0 and level + 1 or level)
end

-- ---- Drop entries that have expired, oldest first ----

for _ = 1, 64 do
  local oldest = by_age.first
  if is_learning or oldest == '' then break end
  local expired = oldest == holder and entry or read_entry(oldest, get('e:' .. oldest))
  if expired.expiry > clock then break end
  unlink(by_age, oldest)
  if expired.ticket > 0 then unlink(queue, oldest) end
  for _, prefix in ipairs({ 'e:', 'p:', 'n:', 'q:', 'w:' }) do set(prefix .. oldest, false) end
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
if entry.wants ~= wants then replace_wants(entry.wants, wants) end
if level == -2 then find_level() end
local full = full_share(wants)

granted = granted - entry.granted - entry.reserved
local room = max(0, limit - granted)
local cap = min(held, room)
if is_learning then
  if is_lapsed then cap = 0 end
else
  cap = cap + min(entry.reserved, max(0, full - cap), room - cap)
  if cap >= full then
    if entry.ticket > 0 then unlink(queue, holder) end
    entry.ticket = 0
  elseif entry.ticket == 0 then
    append(queue, holder)
    entry.ticket = exchanges
  end
end
entry.granted, entry.reserved, entry.wants, entry.seq, entry.expiry = max(held, cap), 0, wants, seq, clock + span
granted = granted + entry.granted

-- ---- Reserve the room for the holders that have been short of permits for longest ----

if not is_learning then
  for _ = 1, 8 do
    local first = queue.first
    room = max(0, limit - granted)
    if room == 0 or first == '' then break end
    local served = first == holder and entry or read_entry(first, get('e:' .. first))
    local unmet = max(0, full_share(served.wants) - served.granted - served.reserved)
    local given = min(unmet, room)
    granted = granted + given
    served.reserved = served.reserved + given
    if given == unmet then
      unlink(queue, first)
      served.ticket = 0
    end
    if first ~= holder then set('e:' .. first, pack_entry(served)) end
  end
  cap = cap + entry.reserved
  entry.granted, entry.reserved = entry.granted + entry.reserved, 0
end

-- ---- The target, and the end ----

if cap > held then entry.grown = clock end
local target = full
if level >= 0 and cap > level and queue.first ~= '' and clock - entry.grown >= floor(ttl / 3) then
  target = min(full, level)
end
local puts, removals = {}, {}
for _, field in ipairs(changed) do
  local value = fields[field]
  if value then
    puts[#puts + 1] = field
    puts[#puts + 1] = value
  else
    removals[#removals + 1] = field
  end
end
-- This holder can be among the holders that were dropped, so its entry is written after the removals.
if #removals > 0 then redis.call('HDEL', key, unpack(removals)) end
redis.call('HSET', key, 'm', cmsgpack.pack(1, epoch, server, clock, learning_until, span, guard, limit, version, exchanges, granted,
  holders, level, spare, run, by_age.first, by_age.last, queue.first, queue.last), own_entry, pack_entry(entry), unpack(puts))
return { 1, cap, target, epoch, exchanges, max(0, learning_until - clock), limit, version, granted, holders }
