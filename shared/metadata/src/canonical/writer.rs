//! Writes canonical forms, in one pass.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use unicode_normalization::UnicodeNormalization;

use super::keys::AsKey;
use super::objects::{ObjectMember, OpenObjects};
use super::stop::Stop;
use super::unalike::{DEEPEST, EXACT, Unalike, Why};

/// The form to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The form that all clients write. A value that they write differently is refused.
    Alike,
    /// The specification's form: keys in the order of their code points, strings unchanged.
    Plain,
    /// The form of clients in Rust: keys in the order of their written bytes, strings in Unicode's
    /// form C.
    Normal,
}

/// Writes each object in place, and sorts its members when it ends.
pub(crate) struct Writer {
    text: Vec<u8>,
    form: Form,
    /// The number of objects and lists that have not ended.
    depth: usize,
    objects: OpenObjects,
}

type Done = Result<(), Stop>;

impl Writer {
    /// The canonical form of `value`.
    pub fn write<T: Serialize + ?Sized>(value: &T, form: Form) -> Result<Vec<u8>, Unalike> {
        let mut writer = Self { text: Vec::new(), form, depth: 0, objects: OpenObjects::default() };
        value.serialize(&mut writer).map_err(|Stop(unalike)| unalike)?;
        Ok(writer.text)
    }

    fn refuse(&self, why: Why) -> Stop {
        let place = self.objects.path().map(|member| unescaped(member.key(&self.text))).collect();
        Stop(Unalike { place, why })
    }

    fn begin(&mut self, bracket: u8) -> Done {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.refuse(Why::Depth));
        }
        self.text.push(bracket);
        Ok(())
    }

    fn end(&mut self, bracket: u8) {
        self.depth -= 1;
        self.text.push(bracket);
    }

    fn begin_object(&mut self) -> Done {
        self.begin(b'{')?;
        self.objects.begin(self.text.len());
        Ok(())
    }

    /// Writes the key of the next member.
    fn key(&mut self, key: &str) -> Done {
        if !self.objects.is_first() {
            self.text.push(b',');
        }
        let begin = self.text.len();
        self.string(key)?;
        self.objects.begin_key(begin);
        self.objects.end_key(self.text.len());
        self.text.push(b':');
        Ok(())
    }

    fn end_member(&mut self) {
        self.objects.end_value(self.text.len());
    }

    /// Sorts the members. Of two with the same key, the last one counts.
    fn end_object(&mut self) -> Done {
        if let Some(mut object) = self.objects.end() {
            let text = &mut self.text;
            let is_plain = object.members.len() < 2
                || object.members.iter().all(|member| is_plain(member.key(text)));
            if is_plain || self.form == Form::Normal {
                if object.sort_as_written(text) {
                    self.objects.reorder(&object, text);
                }
            } else {
                object.members.sort_by_cached_key(|member| unescaped(member.key(text)));
                if self.form == Form::Alike
                    && let Some((one, next)) = first_reordered(text, &object.members)
                {
                    return Err(self.refuse(Why::Order(one, next)));
                }
                self.objects.reorder(&object, text);
            }
        }
        self.end(b'}');
        Ok(())
    }

    /// Writes a string. Only `"` and `\` are escaped.
    fn string(&mut self, string: &str) -> Done {
        // Clients that normalise do so separately between the characters that JSON escapes.
        let is_escaped = |character: char| matches!(character, '\0'..='\x1f' | '"' | '\\');
        let is_normal =
            string.is_ascii() || string.split(is_escaped).all(unicode_normalization::is_nfc);
        if is_normal || self.form == Form::Plain {
            self.quote(string);
            return Ok(());
        }
        if self.form == Form::Alike {
            let piece =
                string.split(is_escaped).find(|piece| !unicode_normalization::is_nfc(piece));
            return Err(self.refuse(Why::Text(piece.unwrap_or_default().to_owned())));
        }
        let normal: String = string
            .split_inclusive(is_escaped)
            .flat_map(|piece| {
                let (text, end) = match piece.char_indices().last() {
                    Some((at, last)) if is_escaped(last) => piece.split_at(at),
                    _ => (piece, ""),
                };
                text.nfc().chain(end.chars())
            })
            .collect();
        self.quote(&normal);
        Ok(())
    }

    fn quote(&mut self, string: &str) {
        self.text.push(b'"');
        for byte in string.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.text.push(b'\\');
            }
            self.text.push(byte);
        }
        self.text.push(b'"');
    }

    /// Writes an integer, `value`. `size` is its absolute value.
    fn integer(&mut self, size: u128, value: impl Display) -> Done {
        let text = value.to_string();
        if self.form == Form::Alike && size > u128::from(EXACT) {
            if text.parse::<i64>().is_err() {
                return Err(self.refuse(Why::Large(text)));
            }
            // The digits that JavaScript writes below 10^21: the fewest that identify the double,
            // then zeros (ECMA-262, Number::toString).
            let double = text.parse::<f64>().map(|double| double.to_string()).unwrap_or_default();
            if double != text {
                return Err(self.refuse(Why::Integer(text, double)));
            }
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Writes `{"variant":`. A value and [`Writer::end_variant`] must follow.
    fn begin_variant(&mut self, variant: &str) -> Done {
        self.begin_object()?;
        self.key(variant)
    }

    fn end_variant(&mut self) -> Done {
        self.end_member();
        self.end_object()
    }
}

/// The first two adjacent keys, in the order of their code points, that some client orders
/// differently.
fn first_reordered(text: &[u8], members: &[ObjectMember]) -> Option<(String, String)> {
    members.windows(2).find_map(|pair| {
        let [one, next] = pair else { return None };
        let (one, next) = (one.key(text), next.key(text));
        let (one_key, next_key) = (unescaped(one), unescaped(next));
        let stays = one <= next && one_key.encode_utf16().le(next_key.encode_utf16());
        (!stays).then_some((one_key, next_key))
    })
}

/// Whether a key has the same place in every client's order. No byte of it sorts before the closing
/// quote. A backslash is always written twice, which keeps the order. No character is U+E000 or
/// higher: UTF-16 sorts U+E000 to U+FFFF after all higher characters.
fn is_plain(written: &[u8]) -> bool {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    inner.iter().all(|byte| matches!(byte, b'#'..=0xed))
}

/// The key without its quotes and escapes.
fn unescaped(written: &[u8]) -> String {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    let mut key = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        key.push(if *byte == b'\\' { bytes.next().copied().unwrap_or(b'\\') } else { *byte });
    }
    String::from_utf8_lossy(&key).into_owned()
}

macro_rules! integers {
    ($($function:ident($type:ty);)*) => {
        $(fn $function(self, value: $type) -> Done {
            self.integer(i128::from(value).unsigned_abs(), value)
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    integers! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
    }

    fn serialize_u128(self, value: u128) -> Done {
        self.integer(value, value)
    }

    fn serialize_bool(self, value: bool) -> Done {
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Done {
        Err(self.refuse(Why::Fraction(value.to_string())))
    }

    fn serialize_f64(self, value: f64) -> Done {
        Err(self.refuse(Why::Fraction(value.to_string())))
    }

    fn serialize_char(self, value: char) -> Done {
        self.string(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Done {
        self.string(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        self.text.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.string(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        self.begin_variant(variant)?;
        value.serialize(&mut *self)?;
        self.end_variant()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Stop> {
        self.begin(b'[')?;
        Ok(List { writer: self, first: true, in_variant: false })
    }

    fn serialize_tuple(self, length: usize) -> Result<List<'a>, Stop> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<List<'a>, Stop> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<List<'a>, Stop> {
        self.begin_variant(variant)?;
        Ok(List { in_variant: true, ..self.serialize_seq(Some(length))? })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'a>, Stop> {
        self.begin_object()?;
        Ok(Object { writer: self, in_variant: false })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Object<'a>, Stop> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Object<'a>, Stop> {
        self.begin_variant(variant)?;
        Ok(Object { in_variant: true, ..self.serialize_map(Some(length))? })
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        self.string(&value.to_string())
    }
}

/// A list that has not ended.
pub(crate) struct List<'a> {
    writer: &'a mut Writer,
    first: bool,
    in_variant: bool,
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        if !self.first {
            self.writer.text.push(b',');
        }
        self.first = false;
        value.serialize(&mut *self.writer)
    }

    fn finish(self) -> Done {
        self.writer.end(b']');
        if self.in_variant { self.writer.end_variant() } else { Ok(()) }
    }
}

macro_rules! lists {
    ($($trait:ident::$function:ident;)*) => {
        $(impl $trait for List<'_> {
            type Ok = ();
            type Error = Stop;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.item(value)
            }

            fn end(self) -> Done {
                self.finish()
            }
        })*
    };
}

lists! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// An object that has not ended.
pub(crate) struct Object<'a> {
    writer: &'a mut Writer,
    in_variant: bool,
}

impl Object<'_> {
    fn member<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Done {
        self.writer.key(key)?;
        value.serialize(&mut *self.writer)?;
        self.writer.end_member();
        Ok(())
    }

    fn finish(self) -> Done {
        self.writer.end_object()?;
        if self.in_variant { self.writer.end_variant() } else { Ok(()) }
    }
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        let key = key.serialize(AsKey)?;
        self.writer.key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut *self.writer)?;
        self.writer.end_member();
        Ok(())
    }

    fn end(self) -> Done {
        self.finish()
    }
}

impl SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
        self.member(key, value)
    }

    fn end(self) -> Done {
        self.finish()
    }
}

impl SerializeStructVariant for Object<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
        self.member(key, value)
    }

    fn end(self) -> Done {
        self.finish()
    }
}
