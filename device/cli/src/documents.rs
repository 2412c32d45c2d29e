//! Fetches documents for an update or a search.

use std::io;

use tufline_client::{Answer, Error, Need, NeededFile, Pack, Search, Updater, Why};

use crate::failure::{Failure, NetworkFailure};
use crate::folder::Folder;
use crate::http::Connection;
use crate::patience::Patience;
use crate::settings::Settings;

/// Feeds `machine` until it needs nothing more: from the pack, and from the server what the pack
/// lacks or what was refused.
pub fn feed(
    machine: &mut impl Machine,
    pack: &mut Pack,
    settings: &Settings,
    connection: &Connection,
) -> Result<(), Failure> {
    while let Need::File(file) = machine.need()? {
        if let Some(packed) = pack.take(&file.path) {
            match machine.give(packed.answer()) {
                Ok(()) => continue,
                Err(error @ Error::Storage { .. }) => return Err(error.into()),
                Err(_) => {}
            }
        }
        let url = settings.metadata(&file.path)?;
        let mut patience = Patience::new(settings.tries, connection.deadline());
        while let Err(failure) = hand_over(machine, connection, &url, &file)? {
            if !failure.is_passing() || !patience.again() {
                return Err(Failure::network(&url, failure));
            }
        }
    }
    Ok(())
}

/// Asks for a document once, and passes the answer to `machine`.
fn hand_over(
    machine: &mut impl Machine,
    connection: &Connection,
    url: &str,
    file: &NeededFile,
) -> Result<Result<(), NetworkFailure>, Failure> {
    let bytes = match connection.document(url, file.most) {
        Ok(bytes) => bytes,
        Err(NetworkFailure::Status(403)) if file.may_be_missing => None,
        Err(failure) => return Ok(Err(failure)),
    };
    match machine.give(bytes.as_deref().map_or(Answer::Missing, Answer::Bytes)) {
        // A page in the document's place (a captive portal), or half of the document: something on
        // the way interferes, and may stop soon.
        Err(Error::Refused {
            why: Why::Invalid(why @ tufline_client::Invalid::Json(_)), ..
        }) => Ok(Err(NetworkFailure::NotADocument(why.to_string()))),
        given => Ok(Ok(given?)),
    }
}

/// An update or a search.
pub trait Machine {
    fn need(&mut self) -> Result<Need, Error<io::Error>>;
    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>>;
}

impl Machine for Updater<Folder> {
    fn need(&mut self) -> Result<Need, Error<io::Error>> {
        Updater::need(self)
    }

    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>> {
        Updater::give(self, answer)
    }
}

impl Machine for Search<'_, Folder> {
    fn need(&mut self) -> Result<Need, Error<io::Error>> {
        Search::need(self)
    }

    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>> {
        Search::give(self, answer)
    }
}
