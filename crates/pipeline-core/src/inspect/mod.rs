//! The whole fleet at one look: what `du`, `df` and a dozen logins would tell, and what needs a person.
//!
//! Guarantees: nothing on a device is changed, and nothing is put there; one bad device delays no other; one report for each device,
//! in the order given, whatever happens; what a scan finds is judged by the very rules of a visit ([`crate::plan`]). Works beside a
//! run, whose lock it does not need. Writes nothing but its readings to the catalog, and those only if asked to.
//!
//! Leaves to others how a connection is made ([`crate::remote::Connect`]), how long that may take, and how all this is drawn.

mod reading;
mod view;

pub use reading::Reading;
pub use view::{Concern, DeviceView, FleetReport, KeptUntil, Kind, Severity, State, StorageState, StorageView};

use crate::catalog::CatalogError;
use crate::error::{Class, Classified};

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Devices at once.
    pub jobs: usize,
    /// Whether the readings are kept in the catalog.
    pub record: bool,
}

/// What keeps an inspection from beginning.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no catalog, or it can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Classified for InspectError {
    fn class(&self) -> Class {
        match self {
            InspectError::Catalog(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            InspectError::Catalog(error) => error.hint(),
        }
    }
}
