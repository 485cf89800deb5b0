-- Layout 2: what people want to see of the fleet later on. None of it ever licenses anything, and none of it grows by a row for each
-- visit.

-- What a run did, written at its end. Empty where a run was killed, or ended before this layout.
ALTER TABLE run ADD COLUMN devices        INTEGER;
ALTER TABLE run ADD COLUMN done           INTEGER;
ALTER TABLE run ADD COLUMN offline        INTEGER;
ALTER TABLE run ADD COLUMN failed         INTEGER;
ALTER TABLE run ADD COLUMN received       INTEGER;
ALTER TABLE run ADD COLUMN received_bytes INTEGER;
ALTER TABLE run ADD COLUMN adopted        INTEGER;
ALTER TABLE run ADD COLUMN adopted_bytes  INTEGER;
ALTER TABLE run ADD COLUMN removed        INTEGER;
ALTER TABLE run ADD COLUMN removed_bytes  INTEGER;
ALTER TABLE run ADD COLUMN deferred       INTEGER;
ALTER TABLE run ADD COLUMN versions       INTEGER;
ALTER TABLE run ADD COLUMN clashes        INTEGER;
ALTER TABLE run ADD COLUMN failures       INTEGER;
ALTER TABLE run ADD COLUMN held           INTEGER;
ALTER TABLE run ADD COLUMN on_hold        INTEGER;
ALTER TABLE run ADD COLUMN stopped_by     TEXT;
ALTER TABLE run ADD COLUMN class          TEXT;
ALTER TABLE run ADD COLUMN hint           TEXT;

ALTER TABLE source ADD COLUMN newest_ns INTEGER;
ALTER TABLE source ADD COLUMN unlisted  INTEGER NOT NULL DEFAULT 0;

CREATE INDEX file_by_received ON file (received_ns);

-- Consecutive visits of a source that ended in the same way.
CREATE TABLE spell (
    id       INTEGER PRIMARY KEY,
    source   INTEGER NOT NULL REFERENCES source (id),
    state    TEXT NOT NULL CHECK (state IN ('reached', 'offline', 'failed')),
    class    TEXT,
    reason   TEXT,
    hint     TEXT,
    began_ns INTEGER NOT NULL,
    last_ns  INTEGER NOT NULL,
    visits   INTEGER NOT NULL,
    others   INTEGER NOT NULL DEFAULT 0,
    whole    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX spell_by_source ON spell (source);

-- Sums of a source and a day: days since 1970, UTC.
CREATE TABLE day (
    source         INTEGER NOT NULL REFERENCES source (id),
    day            INTEGER NOT NULL,
    reached        INTEGER NOT NULL DEFAULT 0,
    offline        INTEGER NOT NULL DEFAULT 0,
    failed         INTEGER NOT NULL DEFAULT 0,
    received       INTEGER NOT NULL DEFAULT 0,
    received_bytes INTEGER NOT NULL DEFAULT 0,
    adopted        INTEGER NOT NULL DEFAULT 0,
    adopted_bytes  INTEGER NOT NULL DEFAULT 0,
    added_bytes    INTEGER NOT NULL DEFAULT 0,
    removed        INTEGER NOT NULL DEFAULT 0,
    removed_bytes  INTEGER NOT NULL DEFAULT 0,
    versions       INTEGER NOT NULL DEFAULT 0,
    clashes        INTEGER NOT NULL DEFAULT 0,
    deferred       INTEGER NOT NULL DEFAULT 0,
    failures       INTEGER NOT NULL DEFAULT 0,
    first_ns       INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL,
    PRIMARY KEY (source, day)
) STRICT, WITHOUT ROWID;

-- How a device was at a moment, as far as somebody asked.
CREATE TABLE reading (
    source                 INTEGER NOT NULL REFERENCES source (id),
    at_ns                  INTEGER NOT NULL,
    total_bytes            INTEGER,
    free_bytes             INTEGER,
    total_files            INTEGER,
    free_files             INTEGER,
    data_bytes             INTEGER,
    data_files             INTEGER,
    waiting_bytes          INTEGER,
    waiting_files          INTEGER,
    kept_bytes             INTEGER,
    kept_files             INTEGER,
    oldest_waiting_ns      INTEGER,
    clock_offset_ns        INTEGER,
    temperature_mdeg       INTEGER,
    throttled              INTEGER,
    uptime_s               INTEGER,
    load_milli             INTEGER,
    memory_total_bytes     INTEGER,
    memory_available_bytes INTEGER,
    read_only              INTEGER,
    sd_errors              INTEGER,
    agent                  TEXT,
    PRIMARY KEY (source, at_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE storage_reading (
    at_ns       INTEGER PRIMARY KEY,
    total_bytes INTEGER NOT NULL,
    free_bytes  INTEGER NOT NULL,
    total_files INTEGER NOT NULL,
    free_files  INTEGER NOT NULL
) STRICT;

-- What the last visit left on its device, and why.
CREATE TABLE outstanding (
    source   INTEGER NOT NULL REFERENCES source (id),
    path     BLOB NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('deferred', 'kept', 'failed', 'skipped', 'held')),
    reason   TEXT NOT NULL,
    first_ns INTEGER NOT NULL,
    run      INTEGER NOT NULL REFERENCES run (id),
    PRIMARY KEY (source, path)
) STRICT, WITHOUT ROWID;
