//! How a device was at one moment.

use serde::Serialize;

/// How a device was at one moment; none where nobody could tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// When, by our clock, in nanoseconds since 1970.
    #[serde(rename = "at", serialize_with = "super::view::moment")]
    pub at_ns: i64,
    /// Size of the file system that holds the source.
    pub total_bytes: Option<u64>,
    /// What an ordinary user may still write there.
    pub free_bytes: Option<u64>,
    /// Its inodes.
    pub total_files: Option<u64>,
    /// Free ones.
    pub free_files: Option<u64>,
    /// Bytes of all files below the source that the filters let through.
    pub data_bytes: Option<u64>,
    /// How many they are.
    pub data_files: Option<u64>,
    /// Of them, what waits to be received.
    pub waiting_bytes: Option<u64>,
    /// How many they are.
    pub waiting_files: Option<u64>,
    /// Of them, what was received and is still there.
    pub kept_bytes: Option<u64>,
    /// How many they are.
    pub kept_files: Option<u64>,
    /// When the oldest of those that wait was last changed, by our clock.
    #[serde(rename = "oldest_waiting", serialize_with = "super::view::moment_or_none")]
    pub oldest_waiting_ns: Option<i64>,
    /// Its clock minus ours.
    pub clock_offset_ns: Option<i64>,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature_mdeg: Option<i64>,
    /// What the firmware says of supply and temperature, bit by bit as `get_throttled` has them.
    pub throttled: Option<u32>,
    /// Seconds since it started.
    pub uptime_s: Option<u64>,
    /// Load average of one minute, in thousandths.
    pub load_milli: Option<u64>,
    /// Memory.
    pub memory_total_bytes: Option<u64>,
    /// Of it, what programs may still have.
    pub memory_available_bytes: Option<u64>,
    /// Whether its root, or what holds the source, can't be written.
    pub read_only: Option<bool>,
    /// Errors of the card that its kernel tells of.
    pub sd_errors: Option<u64>,
    /// Version of the agent that answered.
    pub agent: Option<String>,
}
