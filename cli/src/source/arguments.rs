//! A repository by its URLs, as arguments.

use std::path::PathBuf;

use clap::Args;

use super::base::Base;

/// A repository by its URLs.
#[derive(Debug, Args)]
pub struct UrlArguments {
    /// Where the targets are, if not in `targets/` beside the metadata
    #[arg(long, value_name = "URL|DIR", value_parser = Base::parser())]
    pub targets: Option<Base>,
    /// The root that is trusted, as a device ships with it: of any version
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

impl UrlArguments {
    /// Where the targets are, if the metadata is there.
    pub fn targets_of(&self, metadata: &Base) -> Base {
        self.targets.clone().unwrap_or_else(|| metadata.beside("targets"))
    }
}
