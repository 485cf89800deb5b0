-- What the rows of files tell of days that nobody took sums of. Rows with dev, ino and ctime_ns 0 were not read from a device, but
-- those of a rebuilt catalog say on which day they were.
-- What a file has grown from counts once, on the day of its longer self.
INSERT INTO day (source, day, received, received_bytes, added_bytes, first_ns, last_ns)
    SELECT source, received_ns / 86400000000000, count(*), sum(size), sum(iif(kept = 'prefix', 0, size)), min(received_ns), max(received_ns)
    FROM file JOIN run ON run.id = file.run
    WHERE dev <> 0 OR ino <> 0 OR ctime_ns <> 0 OR program LIKE '% catalog rebuild'
    GROUP BY 1, 2;
INSERT INTO day (source, day, removed, removed_bytes, first_ns, last_ns)
    SELECT source, removed_ns / 86400000000000, count(*), sum(size), min(removed_ns), max(removed_ns)
    FROM file WHERE removed_ns IS NOT NULL AND (dev <> 0 OR ino <> 0 OR ctime_ns <> 0)
    GROUP BY 1, 2
    ON CONFLICT DO UPDATE SET removed = excluded.removed, removed_bytes = excluded.removed_bytes,
        first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns);
UPDATE source SET newest_ns = newest.at_ns
    FROM (SELECT source, max(received_ns) AS at_ns FROM file JOIN run ON run.id = file.run
          WHERE dev <> 0 OR ino <> 0 OR ctime_ns <> 0 OR program LIKE '% catalog rebuild' GROUP BY source) AS newest
    WHERE newest.source = source.id;
UPDATE run SET received = sums.files, received_bytes = sums.bytes
    FROM (SELECT run, count(*) AS files, sum(size) AS bytes FROM file
          WHERE dev <> 0 OR ino <> 0 OR ctime_ns <> 0 GROUP BY run) AS sums
    WHERE sums.run = run.id;
