//! The plan of an upload command: every file with its target name, checked before anything is sent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tufline_folder::given;
use tufline_tuf::{Rejection, RejectionCode, TargetName, custom};

use crate::text::Quoted;

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedUpload {
    /// The path of the file.
    pub file: PathBuf,
    /// The name of its target.
    pub name: TargetName,
    /// The length in bytes.
    pub length: u64,
}

/// Plans the upload of `files`. The inner error is the first refusal of a name.
pub fn plan_uploads(
    files: &[PathBuf],
    name: Option<&str>,
    prefix: Option<&str>,
) -> anyhow::Result<Result<Vec<PlannedUpload>, Rejection>> {
    let (mut planned, mut names) = (Vec::with_capacity(files.len()), BTreeSet::new());
    for file in files {
        let length = length(file)?;
        let own = match name {
            Some(name) => name.to_owned(),
            None => file_name(file)?,
        };
        let name = match joined(prefix, &own).parse::<TargetName>() {
            Ok(name) => name,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !names.insert(name.clone()) {
            bail!(
                "two of the files have the name {name}: upload them one by one with --name or \
                 --prefix"
            );
        }
        planned.push(PlannedUpload { file: file.clone(), name, length });
    }
    Ok(Ok(planned))
}

/// Checks custom metadata, and rewrites it in ASCII, since S3 carries it in a header.
pub fn ascii_custom(text: &str) -> Result<String, Rejection> {
    custom::parse(text)?;
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        // Only strings in JSON have such characters, and an escape there means the same.
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.extend(format!("\\u{unit:04x}").chars());
            }
        }
    }
    if let Some(character) = ascii.chars().find(char::is_ascii_control) {
        let reason = format!(
            "custom metadata rejected: it has the control character {character:?}; write it in one \
             line"
        );
        return Err(Rejection::new(RejectionCode::Custom, reason));
    }
    custom::parse(&ascii)?;
    Ok(ascii)
}

fn file_name(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().with_context(|| format!("{} names no file", file.quoted()))?;
    // A name that isn't UTF-8 is refused later; the lossy text shows the user what is wrong with
    // it.
    Ok(name.to_string_lossy().into_owned())
}

fn joined(prefix: Option<&str>, name: &str) -> String {
    match prefix {
        Some(prefix) if prefix.ends_with('/') || prefix.is_empty() => format!("{prefix}{name}"),
        Some(prefix) => format!("{prefix}/{name}"),
        None => name.to_owned(),
    }
}

fn length(file: &Path) -> anyhow::Result<u64> {
    if file.is_dir() {
        bail!("{} is a folder: name the files in it", file.quoted());
    }
    let metadata = given::open(file).and_then(|open| open.metadata());
    Ok(metadata.with_context(|| format!("cannot read {}", file.quoted()))?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files_prefix_and_choice() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.bin"), folder.path().join("b.bin"));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "bb").unwrap();
        let names = |files: &[PathBuf], name, prefix| -> Vec<String> {
            let planned = plan_uploads(files, name, prefix).unwrap().unwrap();
            planned.iter().map(|planned| format!("{} {}", planned.name, planned.length)).collect()
        };
        assert_eq!(names(&[a.clone(), b.clone()], None, None), ["a.bin 1", "b.bin 2"]);
        assert_eq!(names(std::slice::from_ref(&a), Some("x/y"), Some("v1")), ["v1/x/y 1"]);
        assert_eq!(names(std::slice::from_ref(&a), None, Some("v1/")), ["v1/a.bin 1"]);
        assert!(
            plan_uploads(&[a.clone(), a.clone()], None, None).is_err(),
            "one name for two files"
        );
        assert!(plan_uploads(&[folder.path().to_owned()], None, None).is_err());
        assert!(plan_uploads(&[folder.path().join("missing")], None, None).is_err());
        assert!(plan_uploads(&[a], Some("a b"), None).unwrap().is_err());
    }

    #[test]
    fn custom_metadata_travels_in_ascii() {
        assert_eq!(ascii_custom(r#"{"a": "é😀"}"#).unwrap(), "{\"a\": \"\\u00e9\\ud83d\\ude00\"}");
        let same = |text: &str| {
            custom::parse(&ascii_custom(text).unwrap()).unwrap() == custom::parse(text).unwrap()
        };
        assert!(same(r#"{"a": "é😀"}"#) && same(r#"{"b": [1, null]}"#));
        let long = format!("{{\"a\":\"{}\"}}", "é".repeat(500));
        assert!(
            custom::parse(&long).is_ok() && ascii_custom(&long).is_err(),
            "too long once it is escaped"
        );
        for text in ["", "[]", "{\"a\":1.5}", "{\"a\":\n1}"] {
            assert!(ascii_custom(text).is_err(), "{text:?}");
        }
    }
}
