//! The HTTP server that answers devices, of `tufline local` and of `tufline serve`.

mod connections;
mod http;
mod paced;

pub use http::Server;
