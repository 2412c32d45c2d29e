//! Reading fields, so that whatever is wrong is told with its place.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::time::{self, Time};

/// A value, and where it stands.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    value: Option<&'a Value>,
    place: String,
}

impl<'a> Field<'a> {
    pub fn new(value: &'a Value, place: &str) -> Self {
        Self { value: Some(value), place: place.to_owned() }
    }

    fn wrong(&self, expected: &str) -> Error {
        let found = match self.value {
            None => "is missing".to_owned(),
            Some(Value::Null) => "is null".to_owned(),
            Some(Value::Object(_)) => "is an object".to_owned(),
            Some(Value::Array(_)) => "is a list".to_owned(),
            Some(other) => format!("is {}", shortened(&other.to_string())),
        };
        self.refuse(format!("{found}, where {expected} must be"))
    }

    pub fn refuse(&self, why: String) -> Error {
        Error::Field { place: self.place.escape_debug().to_string(), why }
    }

    /// A member of the object.
    pub fn get(&self, name: &str) -> Self {
        let value = self.value.and_then(|value| value.get(name));
        let dot = if self.place.is_empty() { "" } else { "." };
        Self { value, place: format!("{}{dot}{name}", self.place) }
    }

    /// Whether nothing stands there; clients take `null` for that where a field may be left out.
    pub fn is_missing(&self) -> bool {
        self.value.is_none_or(Value::is_null)
    }

    pub fn value(&self) -> Option<&'a Value> {
        self.value
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.and_then(Value::as_str).ok_or_else(|| self.wrong("a string"))
    }

    pub fn object(&self) -> Result<&'a Map<String, Value>> {
        self.value.and_then(Value::as_object).ok_or_else(|| self.wrong("an object"))
    }

    pub fn members(&self) -> Result<impl Iterator<Item = (&'a str, Self)>> {
        let object = self.object()?;
        let place = self.place.clone();
        Ok(object
            .iter()
            .map(move |(name, value)| (name.as_str(), Self { value: Some(value), place: format!("{place}.{name}") })))
    }

    pub fn items(&self) -> Result<impl Iterator<Item = Self>> {
        let items = self.value.and_then(Value::as_array).ok_or_else(|| self.wrong("a list"))?;
        let place = self.place.clone();
        Ok((0..).zip(items).map(move |(index, value)| Self { value: Some(value), place: format!("{place}.{index}") }))
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        self.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    pub fn boolean(&self) -> Result<bool> {
        self.value.and_then(Value::as_bool).ok_or_else(|| self.wrong("true or false"))
    }

    /// A number from 0.
    pub fn number(&self) -> Result<u64> {
        self.value.and_then(Value::as_u64).ok_or_else(|| self.wrong("a whole number from 0"))
    }

    /// A number from 1.
    pub fn positive(&self) -> Result<u64> {
        self.number().ok().filter(|number| *number > 0).ok_or_else(|| self.wrong("a whole number from 1"))
    }

    pub fn time(&self) -> Result<Time> {
        self.text()
            .ok()
            .and_then(time::read)
            .ok_or_else(|| self.wrong("a time such as 2030-01-02T03:04:05Z, of the year 9999 at most,"))
    }

    /// What a hash function gave, by its name: hexadecimal digits in any case.
    pub fn hashes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let digest = |(name, field): (&str, Self)| {
            let digest = field.text().ok().and_then(|text| hex::decode(text).ok());
            Ok((name.to_owned(), digest.ok_or_else(|| field.wrong("a digest in hexadecimal"))?))
        };
        self.members()?.map(digest).collect()
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_owned();
    }
    text.chars().take(60).chain(['…']).collect()
}
