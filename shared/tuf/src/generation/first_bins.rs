//! The number of bins of a repository without targets.

use std::str::FromStr;

/// The number of bins of a repository without targets. With 16 or more, people who keep the
/// `targets` key offline never need to sign because the repository grew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstBins {
    /// No bins: `targets` lists the first targets itself.
    #[default]
    One,
    /// 16 bins, with the prefixes `0` to `f`.
    Sixteen,
    /// 256 bins, with the prefixes `00` to `ff`.
    TwoHundredFiftySix,
    /// 4,096 bins, with the prefixes `000` to `fff`.
    FourThousandNinetySix,
}

impl FirstBins {
    pub(super) fn digits(self) -> usize {
        match self {
            Self::One => 0,
            Self::Sixteen => 1,
            Self::TwoHundredFiftySix => 2,
            Self::FourThousandNinetySix => 3,
        }
    }
}

impl FromStr for FirstBins {
    type Err = BadBins;

    fn from_str(text: &str) -> Result<Self, BadBins> {
        match text {
            "1" => Ok(Self::One),
            "16" => Ok(Self::Sixteen),
            "256" => Ok(Self::TwoHundredFiftySix),
            "4096" => Ok(Self::FourThousandNinetySix),
            _ => Err(BadBins(text.to_owned())),
        }
    }
}

/// A number of bins that is not offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a repository can't begin with '{0}' bins: use 1, 16, 256 or 4096")]
pub struct BadBins(String);
