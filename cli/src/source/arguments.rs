//! The arguments that name any TUF repository by its URLs or folders.

use std::path::PathBuf;

use clap::Args;

use super::base::Base;

/// Arguments for any TUF repository beside its metadata.
#[derive(Debug, Args)]
pub struct UrlArguments {
    /// The targets, if not in `targets/` beside the metadata
    #[arg(long, value_name = "URL|DIR", value_parser = Base::parser())]
    pub targets: Option<Base>,
    /// The trusted root, of any version, as a device ships with it
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

impl UrlArguments {
    /// Where the targets of a repository with this metadata are.
    pub fn targets_of(&self, metadata: &Base) -> Base {
        self.targets.clone().unwrap_or_else(|| metadata.beside("targets"))
    }
}
