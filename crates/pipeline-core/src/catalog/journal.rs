//! What is written down for whoever looks back: how devices and storage were.
//!
//! Guarantees that none of it ever licenses anything, and that nothing grows by a row for each visit. Leaves to others: to read it
//! ([`super::history`]).

use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::history::{READING_COLUMNS, Reading, StorageReading, reading_values};
use super::{Catalog, CatalogError, connect};
use crate::path::DeviceName;

impl Catalog {
    /// Writes down how a device is. A source that no visit has been to is new.
    pub fn note_reading(&self, device: &DeviceName, source: &[u8], reading: &Reading) -> Result<(), CatalogError> {
        let mut conn = connect(&self.file)?;
        let mut note = || {
            let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let key = params![device.as_str(), source];
            let sql = "SELECT id FROM source WHERE device = ?1 AND path = ?2";
            let known = transaction.query_row(sql, key, |row| row.get(0)).optional()?;
            let id = match known {
                Some(id) => id,
                None => {
                    transaction.execute("INSERT INTO source (device, path) VALUES (?1, ?2)", key)?;
                    transaction.last_insert_rowid()
                }
            };
            add_reading(&transaction, id, reading)?;
            transaction.commit()
        };
        note().map_err(|e| self.sqlite("noting how a device is", e))
    }

    /// Writes down how much room the storage has.
    pub fn note_storage(&self, reading: &StorageReading) -> Result<(), CatalogError> {
        let conn = connect(&self.file)?;
        add_storage(&conn, reading).map_err(|e| self.sqlite("noting the storage's room", e))
    }
}

fn add_reading(conn: &Connection, source: i64, reading: &Reading) -> rusqlite::Result<()> {
    let values = reading_values(reading);
    let places: Vec<String> = (2..values.len() + 2).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT OR REPLACE INTO reading (source, {READING_COLUMNS}) VALUES (?1, {})", places.join(", "));
    let all = std::iter::once(source.into()).chain(values);
    conn.prepare_cached(&sql)?.execute(params_from_iter(all)).map(drop)
}

fn add_storage(conn: &Connection, reading: &StorageReading) -> rusqlite::Result<()> {
    let StorageReading { at_ns, total_bytes, free_bytes, total_files, free_files } = *reading;
    let [total, free, files, free_files] = [total_bytes, free_bytes, total_files, free_files].map(u64::cast_signed);
    let sql = "INSERT OR REPLACE INTO storage_reading (at_ns, total_bytes, free_bytes, total_files, free_files)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.execute(sql, params![at_ns, total, free, files, free_files]).map(drop)
}
