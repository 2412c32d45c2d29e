//! Reads fields of JSON. Each error names the place of the field.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::json::{Json, Object};
use crate::time::{self, Time};

/// A value and its place, which may be empty.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    value: Option<&'a Json<'a>>,
    place: String,
}

impl<'a> Field<'a> {
    pub fn new(value: &'a Json<'a>, place: &str) -> Self {
        Self { value: Some(value), place: place.to_owned() }
    }

    fn wrong(&self, expected: &str) -> Error {
        let found = match self.value {
            None => "is missing".to_owned(),
            Some(Json::Null) => "is null".to_owned(),
            Some(Json::Object(_)) => "is an object".to_owned(),
            Some(Json::List(_)) => "is a list".to_owned(),
            Some(other) => format!("is {}", shortened(&other.to_text())),
        };
        self.refuse(format!("{found}, where {expected} must be"))
    }

    pub fn refuse(&self, why: String) -> Error {
        Error::Field { place: self.place.escape_debug().to_string(), why }
    }

    /// The member `name` of the object.
    pub fn get(&self, name: &str) -> Self {
        let value = self.object().ok().and_then(|object| object.get(name));
        let dot = if self.place.is_empty() { "" } else { "." };
        Self { value, place: format!("{}{dot}{name}", self.place) }
    }

    /// Whether the value is absent or `null`. Clients treat both alike where a field may be left
    /// out.
    pub fn is_missing(&self) -> bool {
        self.value.is_none_or(|value| *value == Json::Null)
    }

    pub fn value(&self) -> Option<&'a Json<'a>> {
        self.value
    }

    pub fn text(&self) -> Result<&'a str> {
        let Some(Json::Text(text)) = self.value else { return Err(self.wrong("a string")) };
        Ok(text)
    }

    pub fn object(&self) -> Result<&'a Object<'a>> {
        let Some(Json::Object(object)) = self.value else { return Err(self.wrong("an object")) };
        Ok(object)
    }

    pub fn members(&self) -> Result<impl Iterator<Item = (&'a str, Self)>> {
        let object = self.object()?;
        let place = self.place.clone();
        Ok(object.iter().map(move |(name, value)| {
            (name, Self { value: Some(value), place: format!("{place}.{name}") })
        }))
    }

    pub fn items(&self) -> Result<impl Iterator<Item = Self>> {
        let Some(Json::List(items)) = self.value else { return Err(self.wrong("a list")) };
        let place = self.place.clone();
        Ok((0..).zip(items).map(move |(index, value)| Self {
            value: Some(value),
            place: format!("{place}.{index}"),
        }))
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        self.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    pub fn boolean(&self) -> Result<bool> {
        let Some(Json::Bool(value)) = self.value else { return Err(self.wrong("true or false")) };
        Ok(*value)
    }

    /// A whole number from 0.
    pub fn number(&self) -> Result<u64> {
        let number =
            if let Some(Json::Number(number)) = self.value { number.as_u64() } else { None };
        number.ok_or_else(|| self.wrong("a whole number from 0"))
    }

    /// A whole number from 1.
    pub fn positive(&self) -> Result<u64> {
        self.number()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| self.wrong("a whole number from 1"))
    }

    pub fn time(&self) -> Result<Time> {
        self.text().ok().and_then(time::read).ok_or_else(|| {
            self.wrong("a time such as 2030-01-02T03:04:05Z, of the year 9999 at most,")
        })
    }

    /// Digests by the names of their hash functions, in hexadecimal digits of either case.
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
