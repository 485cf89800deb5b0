//! What can be typed after `pipeline hold` and `pipeline release`.

use clap::Args;

/// Options of `pipeline hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// When it ends by itself: '3d' or '12h' from now, '2026-11-25' (its end), '2026-11-25 18:00' (local time), or
    /// '2026-11-25T18:00:00Z' [default: when somebody ends it]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Options of `pipeline release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {}
