//! The version of the TUF specification.

/// The specification version that Tufline's documents state (TUF specification 4.2,
/// `spec_version`).
pub const SPEC_VERSION: &str = "1.0.33";
