//! The half that runs on the device.
