-- The tables and functions of a ledger. `install` runs this text; it can run again at any time, also beside running exchanges.
--
-- All times are milliseconds. Layout 1.

-- Two processes that install at the same time do so one after the other. The lock ends with the transaction.
SELECT pg_advisory_xact_lock(1667723116, 1);

CREATE SCHEMA IF NOT EXISTS concurrency_governor;

-- One row for each gate. An exchange locks it, so exchanges of a gate are made one after the other.
CREATE TABLE IF NOT EXISTS concurrency_governor.gate (
  name text PRIMARY KEY,
  layout bigint NOT NULL DEFAULT 1,
  epoch bigint NOT NULL DEFAULT 0, -- 0 if the gate has no state but a limit
  run text NOT NULL DEFAULT '',
  server bigint NOT NULL DEFAULT 0,
  clock bigint NOT NULL DEFAULT 0,
  learning_until bigint NOT NULL DEFAULT 0,
  span bigint NOT NULL DEFAULT 0,
  guard bigint NOT NULL DEFAULT 0,
  permits bigint NOT NULL DEFAULT 0, -- the limit; 0 if there is none
  version bigint NOT NULL DEFAULT 0,
  set_by text NOT NULL DEFAULT '',
  exchanges bigint NOT NULL DEFAULT 0,
  granted bigint NOT NULL DEFAULT 0,
  holders bigint NOT NULL DEFAULT 0,
  queued bigint NOT NULL DEFAULT 0,
  level bigint NOT NULL DEFAULT -2, -- -1: the limit covers all wants; -2: must be computed
  spare bigint NOT NULL DEFAULT 0,
  -- The histogram of the wants, in ascending order: the largest wants in each cell, its holders, and the sum of their wants.
  cells bigint[] NOT NULL DEFAULT '{}',
  counts bigint[] NOT NULL DEFAULT '{}',
  sums bigint[] NOT NULL DEFAULT '{}',
  -- Lower bounds, from which the indexes are searched. Without them a search would pass the dead entries of all earlier exchanges.
  oldest bigint NOT NULL DEFAULT 0,
  oldest_expiry bigint NOT NULL DEFAULT 0,
  first_ticket bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

CREATE TABLE IF NOT EXISTS concurrency_governor.holder (
  gate text NOT NULL REFERENCES concurrency_governor.gate ON DELETE CASCADE, -- a gate is lost as a whole
  name text NOT NULL,
  granted bigint NOT NULL,
  reserved bigint NOT NULL,
  wants bigint NOT NULL,
  seq bigint NOT NULL,
  expiry bigint NOT NULL,
  position bigint NOT NULL, -- the number of its last exchange in the order of all exchanges
  grown bigint NOT NULL,
  ticket bigint NOT NULL,
  PRIMARY KEY (gate, name)
) WITH (fillfactor = 50);

CREATE INDEX IF NOT EXISTS holder_position ON concurrency_governor.holder (gate, position);
CREATE INDEX IF NOT EXISTS holder_ticket ON concurrency_governor.holder (gate, ticket) WHERE ticket > 0;

-- Returns the largest wants in the cell of these wants.
CREATE OR REPLACE FUNCTION concurrency_governor.most_in_cell(wants bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  unit bigint := 1;
BEGIN
  WHILE wants >= 32 * unit LOOP
    unit := unit * 2;
  END LOOP;
  RETURN wants - wants % unit + unit - 1;
END $$;

-- Replaces the wants of one holder in the histogram.
CREATE OR REPLACE FUNCTION concurrency_governor.replace_wants(INOUT g concurrency_governor.gate, old bigint, new bigint) LANGUAGE plpgsql
AS $$
DECLARE
  wants bigint;
  cell bigint;
  change bigint;
  i integer;
BEGIN
  IF old = new THEN RETURN; END IF;
  g.level := -2;
  FOREACH wants IN ARRAY ARRAY[old, new] LOOP
    CONTINUE WHEN wants = 0;
    cell := concurrency_governor.most_in_cell(wants);
    change := CASE WHEN wants = old THEN -1 ELSE 1 END;
    i := array_position(g.cells, cell);
    IF i IS NULL THEN
      SELECT count(*) + 1 INTO i FROM unnest(g.cells) AS c WHERE c < cell;
      g.cells := g.cells[:i - 1] || cell || g.cells[i:];
      g.counts := g.counts[:i - 1] || change || g.counts[i:];
      g.sums := g.sums[:i - 1] || wants || g.sums[i:];
    ELSIF g.counts[i] + change = 0 THEN
      g.cells := g.cells[:i - 1] || g.cells[i + 1:];
      g.counts := g.counts[:i - 1] || g.counts[i + 1:];
      g.sums := g.sums[:i - 1] || g.sums[i + 1:];
    ELSE
      g.counts[i] := g.counts[i] + change;
      g.sums[i] := g.sums[i] + change * wants;
    END IF;
  END LOOP;
END $$;

-- Finds the water level.
CREATE OR REPLACE FUNCTION concurrency_governor.find_level(INOUT g concurrency_governor.gate) LANGUAGE plpgsql AS $$
DECLARE
  rest bigint := g.permits;
  wanting bigint := 0;
  others bigint;
BEGIN
  FOR i IN 1..cardinality(g.cells) LOOP
    wanting := wanting + g.counts[i];
  END LOOP;
  FOR i IN 1..cardinality(g.cells) LOOP
    others := wanting - g.counts[i];
    IF g.sums[i] + g.cells[i] * others > rest THEN
      g.level := rest / wanting;
      g.spare := rest - g.level * wanting;
      RETURN;
    END IF;
    rest := rest - g.sums[i];
    wanting := others;
  END LOOP;
  g.level := -1;
  g.spare := 0;
END $$;

-- Returns the most that a holder with these wants may be granted.
CREATE OR REPLACE FUNCTION concurrency_governor.full_share(level bigint, spare bigint, wants bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
AS $$
  SELECT CASE WHEN level = -1 THEN wants
    ELSE least(wants, CASE WHEN spare > 0 THEN level + 1 ELSE level END) END
$$;

-- Locks the row of a gate, and returns it. Creates the row if it does not exist.
--
-- The transaction must be on disk before the client has its answer: after the crash of one process of the server, the last commits could
-- be missing, and the start time of the server is the same, so no epoch would begin.
CREATE OR REPLACE FUNCTION concurrency_governor.lock_gate(gate_name text) RETURNS concurrency_governor.gate LANGUAGE plpgsql AS $$
DECLARE
  g concurrency_governor.gate;
BEGIN
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'local', true);
  END IF;
  SELECT * INTO g FROM concurrency_governor.gate WHERE name = gate_name FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO concurrency_governor.gate (name) VALUES (gate_name) ON CONFLICT DO NOTHING;
    SELECT * INTO g FROM concurrency_governor.gate WHERE name = gate_name FOR UPDATE;
  END IF;
  IF g.layout <> 1 THEN
    RAISE EXCEPTION 'the gate has the layout %, and this program knows 1', g.layout;
  END IF;
  RETURN g;
END $$;

-- One exchange. A translation of src/fleet/step/state.rs, which explains the rules; the tests compare both on the same traces.
CREATE OR REPLACE FUNCTION concurrency_governor.exchange_at(gate_name text, holder_name text, new_seq bigint, known_epoch bigint,
  held bigint, new_wants bigint, is_lapsed boolean, ttl bigint, grace bigint, own_guard bigint, offered_limit bigint,
  offered_version bigint, now_ms bigint, new_run text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  g concurrency_governor.gate;
  entry concurrency_governor.holder;
  other concurrency_governor.holder;
  is_new boolean;
  is_known boolean;
  is_learning boolean;
  growth bigint;
  full_of_holder bigint;
  room bigint;
  cap bigint;
  unmet bigint;
  given bigint;
  target bigint;
BEGIN
  g := concurrency_governor.lock_gate(gate_name);
  SELECT * INTO entry FROM concurrency_governor.holder WHERE gate = gate_name AND name = holder_name;
  is_known := FOUND;
  IF is_known AND new_seq <= entry.seq THEN
    RETURN ARRAY[0, entry.seq];
  END IF;

  -- The clock, the terms, and a new epoch after a restart or a loss of state.
  is_new := g.epoch = 0;
  growth := greatest(0, ttl + grace + own_guard - g.span);
  g.span := g.span + growth;
  g.guard := CASE WHEN is_new THEN own_guard ELSE least(g.guard, own_guard) END;
  IF NOT is_new THEN
    g.clock := g.clock + least(greatest(0, now_ms - g.server), g.guard);
  END IF;
  g.server := now_ms;
  IF is_new OR g.run <> new_run OR known_epoch > g.epoch THEN
    g.epoch := greatest(greatest(g.epoch, known_epoch) + 1, now_ms);
    g.run := new_run;
    g.learning_until := g.clock + g.span;
  ELSIF g.clock < g.learning_until THEN
    g.learning_until := g.learning_until + growth;
  END IF;
  is_learning := g.clock < g.learning_until;
  IF g.permits = 0 OR offered_version > g.version THEN
    g.permits := offered_limit;
    g.version := offered_version;
    g.level := -2;
  END IF;

  -- Drop entries that have expired, oldest first.
  FOR i IN 1..64 LOOP
    EXIT WHEN is_learning OR g.oldest_expiry > g.clock;
    SELECT * INTO other FROM concurrency_governor.holder WHERE gate = gate_name AND position >= g.oldest ORDER BY position LIMIT 1;
    EXIT WHEN NOT FOUND;
    g.oldest := other.position;
    g.oldest_expiry := other.expiry;
    EXIT WHEN other.expiry > g.clock;
    DELETE FROM concurrency_governor.holder WHERE gate = gate_name AND name = other.name;
    g := concurrency_governor.replace_wants(g, other.wants, 0);
    g.granted := g.granted - other.granted - other.reserved;
    g.holders := g.holders - 1;
    IF other.ticket > 0 THEN g.queued := g.queued - 1; END IF;
    IF other.name = holder_name THEN is_known := false; END IF;
  END LOOP;

  -- The cap of this holder.
  g.exchanges := g.exchanges + 1;
  IF NOT is_known THEN
    entry := ROW(gate_name, holder_name, 0, 0, 0, 0, 0, 0, 0, 0);
    g.holders := g.holders + 1;
  END IF;
  IF entry.wants <> new_wants THEN g := concurrency_governor.replace_wants(g, entry.wants, new_wants); END IF;
  IF g.level = -2 THEN g := concurrency_governor.find_level(g); END IF;
  full_of_holder := concurrency_governor.full_share(g.level, g.spare, new_wants);
  g.granted := g.granted - entry.granted - entry.reserved;
  room := greatest(0, g.permits - g.granted);
  cap := least(held, room);
  IF is_learning THEN
    IF is_lapsed THEN cap := 0; END IF;
  ELSE
    cap := cap + least(entry.reserved, greatest(0, full_of_holder - cap), room - cap);
    IF cap >= full_of_holder THEN
      IF entry.ticket > 0 THEN g.queued := g.queued - 1; END IF;
      entry.ticket := 0;
    ELSIF entry.ticket = 0 THEN
      g.queued := g.queued + 1;
      entry.ticket := g.exchanges;
    END IF;
  END IF;
  entry.granted := greatest(held, cap);
  entry.reserved := 0;
  entry.wants := new_wants;
  entry.seq := new_seq;
  entry.expiry := g.clock + g.span;
  entry.position := g.exchanges;
  g.granted := g.granted + entry.granted;

  -- Reserve the available permits for the holders that have been short of permits for longest. The row of this holder has not been
  -- updated yet, so the query skips it, and `entry` takes its place.
  FOR i IN 1..8 LOOP
    EXIT WHEN is_learning OR g.queued = 0;
    room := greatest(0, g.permits - g.granted);
    EXIT WHEN room = 0;
    SELECT * INTO other FROM concurrency_governor.holder
      WHERE gate = gate_name AND ticket > 0 AND ticket >= g.first_ticket AND name <> holder_name ORDER BY ticket LIMIT 1;
    IF entry.ticket > 0 AND (NOT FOUND OR entry.ticket < other.ticket) THEN
      other := entry;
    END IF;
    EXIT WHEN other.name IS NULL;
    g.first_ticket := other.ticket;
    unmet := greatest(0, concurrency_governor.full_share(g.level, g.spare, other.wants) - other.granted - other.reserved);
    given := least(unmet, room);
    g.granted := g.granted + given;
    other.reserved := other.reserved + given;
    IF given = unmet THEN
      other.ticket := 0;
      g.queued := g.queued - 1;
    END IF;
    IF other.name = holder_name THEN
      entry := other;
    ELSE
      UPDATE concurrency_governor.holder SET reserved = other.reserved, ticket = other.ticket
        WHERE gate = gate_name AND name = other.name;
    END IF;
  END LOOP;
  cap := cap + entry.reserved;
  entry.granted := entry.granted + entry.reserved;
  entry.reserved := 0;

  -- The target, and the end.
  IF cap > held THEN entry.grown := g.clock; END IF;
  target := full_of_holder;
  IF g.level >= 0 AND cap > g.level AND g.queued > 0 AND g.clock - entry.grown >= ttl / 3 THEN
    target := least(full_of_holder, g.level);
  END IF;
  IF is_known THEN
    UPDATE concurrency_governor.holder SET granted = entry.granted, reserved = entry.reserved, wants = entry.wants, seq = entry.seq,
        expiry = entry.expiry, position = entry.position, grown = entry.grown, ticket = entry.ticket
      WHERE gate = gate_name AND name = holder_name;
  ELSE
    INSERT INTO concurrency_governor.holder VALUES (entry.*);
  END IF;
  UPDATE concurrency_governor.gate SET epoch = g.epoch, run = g.run, server = g.server, clock = g.clock,
      learning_until = g.learning_until, span = g.span, guard = g.guard, permits = g.permits, version = g.version,
      exchanges = g.exchanges, granted = g.granted, holders = g.holders, queued = g.queued, level = g.level, spare = g.spare,
      cells = g.cells, counts = g.counts, sums = g.sums, oldest = g.oldest, oldest_expiry = g.oldest_expiry, first_ticket = g.first_ticket
    WHERE name = gate_name;
  RETURN ARRAY[1, cap, target, g.epoch, g.exchanges, greatest(0, g.learning_until - g.clock), g.permits, g.version, g.granted, g.holders];
END $$;

-- The clock of the server in milliseconds.
CREATE OR REPLACE FUNCTION concurrency_governor.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- One exchange at the present time. The clock is read after the row is locked, so that it does not go back from one exchange to the
-- next.
CREATE OR REPLACE FUNCTION concurrency_governor.exchange(gate_name text, holder_name text, new_seq bigint, known_epoch bigint,
  held bigint, new_wants bigint, is_lapsed boolean, ttl bigint, grace bigint, own_guard bigint, offered_limit bigint,
  offered_version bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
  PERFORM concurrency_governor.lock_gate(gate_name);
  RETURN concurrency_governor.exchange_at(gate_name, holder_name, new_seq, known_epoch, held, new_wants, is_lapsed, ttl, grace, own_guard,
    offered_limit, offered_version, concurrency_governor.now_ms(), extract(epoch FROM pg_postmaster_start_time())::text);
END $$;

-- Sets the limit, and returns its version.
CREATE OR REPLACE FUNCTION concurrency_governor.set_limit_at(gate_name text, new_limit bigint, new_set_by text, now_ms bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  g concurrency_governor.gate := concurrency_governor.lock_gate(gate_name);
  new_version bigint := greatest(g.version + 1, now_ms);
BEGIN
  -- The level follows from the limit, so it must be computed again.
  UPDATE concurrency_governor.gate SET permits = new_limit, version = new_version, set_by = new_set_by, level = -2
    WHERE name = gate_name;
  RETURN new_version;
END $$;
