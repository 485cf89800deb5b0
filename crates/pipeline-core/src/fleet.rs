//! Host patterns and the OpenSSH config to devices.

use crate::config::DeviceSettings;
use crate::path::DeviceName;

/// One device to visit.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its alias in the OpenSSH config.
    pub name: DeviceName,
    /// What holds for it.
    pub settings: DeviceSettings,
}
