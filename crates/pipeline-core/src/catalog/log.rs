//! The catalog's log stays, emptied, where SQLite would take it away with the last connection.
//!
//! Who may read the state directory and not write to it could open the catalog only while somebody else has it open: without a log
//! there SQLite wants to make one, even to read. Guarantees nothing about what is in the log: that is SQLite's, and as durable as ever.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// Has the log stay when this connection is the last that is closed. It is emptied then, so that one that is laid beside another catalog
/// by mistake says nothing of it.
pub(super) fn keep(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA journal_size_limit = 0")?;
    match persist(conn) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

#[allow(unsafe_code)]
fn persist(conn: &Connection) -> c_int {
    let mut yes: c_int = 1;
    // SAFETY: the handle is that of a connection that lives as long as the borrow, and no other thread has it. The name ends with NUL.
    // This operation reads and writes one `int` behind the pointer, and keeps none of them:
    // https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlpersistwal
    unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_PERSIST_WAL,
            std::ptr::from_mut(&mut yes).cast(),
        )
    }
}
