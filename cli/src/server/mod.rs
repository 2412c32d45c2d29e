//! The HTTP server of `tufline local` and `tufline serve`, which serves devices.

mod connections;
mod http;
mod paced;

pub use http::Server;
