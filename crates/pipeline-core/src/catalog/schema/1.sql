-- Layout 1 of the catalog. docs/catalog.md explains every column. Times are nanoseconds since 1970.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    started_ns  INTEGER NOT NULL,
    finished_ns INTEGER,
    program     TEXT NOT NULL
) STRICT;

-- One directory of one device, and what its last visit found.
CREATE TABLE source (
    id              INTEGER PRIMARY KEY,
    device          TEXT NOT NULL,
    path            BLOB NOT NULL,
    visited_ns      INTEGER,
    succeeded_ns    INTEGER,
    clock_offset_ns INTEGER,
    total_bytes     INTEGER NOT NULL DEFAULT 0,
    free_bytes      INTEGER NOT NULL DEFAULT 0,
    unreachable     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device, path)
) STRICT;

-- One file that was received. Never deleted; updated only by where its content is now (kept, archive_path) and removed_ns.
CREATE TABLE file (
    id              INTEGER PRIMARY KEY,
    source          INTEGER NOT NULL REFERENCES source (id),
    path            BLOB NOT NULL,
    size            INTEGER NOT NULL,
    mtime_ns        INTEGER NOT NULL,
    ctime_ns        INTEGER NOT NULL,
    dev             INTEGER NOT NULL,
    ino             INTEGER NOT NULL,
    clock_offset_ns INTEGER NOT NULL,
    sha256          BLOB NOT NULL CHECK (length(sha256) = 32),
    archive_path    BLOB NOT NULL,
    kept            TEXT NOT NULL CHECK (kept IN ('whole', 'prefix', 'dropped')),
    received_ns     INTEGER NOT NULL,
    removed_ns      INTEGER,
    run             INTEGER NOT NULL REFERENCES run (id)
) STRICT;
CREATE INDEX file_by_path ON file (source, path);
CREATE INDEX file_by_archive_path ON file (archive_path);
-- The few that are still on their device, among years of those that are not.
CREATE INDEX file_on_device ON file (source) WHERE removed_ns IS NULL;

-- A file that was seen and not yet taken, because the device's clock can't tell its age.
CREATE TABLE sighting (
    source   INTEGER NOT NULL REFERENCES source (id),
    path     BLOB NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    dev      INTEGER NOT NULL,
    ino      INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    PRIMARY KEY (source, path)
) STRICT, WITHOUT ROWID;

-- How far reading the storage again has come: at most one row.
CREATE TABLE verify_round (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    begun_ns    INTEGER,
    up_to       BLOB,
    runs        INTEGER NOT NULL,
    parts       INTEGER NOT NULL,
    finished_ns INTEGER
) STRICT;
