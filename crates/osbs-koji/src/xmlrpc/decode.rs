//! XML to values, from peers that may be hostile.
//!
//! Entity declarations are refused, depth is bounded; the caller bounds the length. Unknown elements are errors, unknown
//! members of structs are the reader's to ignore.

use crate::{Fault, Struct, Value};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Deeper than any data of Koji, and shallow enough for a stack.
const MAX_DEPTH: usize = 100;

/// Most characters of an error.
const MAX_PROBLEM: usize = 200;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A call, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name of the method.
    pub method: String,
    /// Its arguments; see [`crate::Arguments::from_params`].
    pub params: Vec<Value>,
}

/// A document is not XML-RPC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an XML-RPC document: {problem} at byte {offset}")]
pub struct XmlError {
    /// What is wrong.
    pub problem: String,
    /// Where: bytes from the document's beginning.
    pub offset: u64,
}

/// Reads a call.
///
/// # Errors
/// It is not a `methodCall`.
pub fn decode_call(document: &[u8]) -> Result<Call, XmlError> {
    let mut parser = Parser::new(document)?;
    parser.open("methodCall")?;
    parser.open("methodName")?;
    let method = parser.text_until("methodName")?;
    let mut params = Vec::new();
    if parser.next_open("methodCall")?.is_some_and(|name| name == "params") {
        params = parser.params()?;
        parser.close("methodCall")?;
    }
    parser.end()?;
    Ok(Call { method: method.trim().to_owned(), params })
}

/// Reads an answer: a result, or a fault.
///
/// # Errors
/// It is not a `methodResponse`.
pub fn decode_response(document: &[u8]) -> Result<Result<Value, Fault>, XmlError> {
    let mut parser = Parser::new(document)?;
    parser.open("methodResponse")?;
    let answer = match parser.next_open("methodResponse")?.as_deref() {
        Some("params") => {
            let mut params = parser.params()?;
            if params.len() != 1 {
                return Err(parser.wrong(format!("{} results", params.len())));
            }
            Ok(params.remove(0))
        }
        Some("fault") => {
            parser.open("value")?;
            let fault = parser.value(0)?;
            parser.close("fault")?;
            Err(parser.fault(&fault)?)
        }
        other => return Err(parser.wrong(format!("{other:?} where params or a fault must be"))),
    };
    parser.close("methodResponse")?;
    parser.end()?;
    Ok(answer)
}

enum Token {
    Open(String),
    Close,
    Text(String),
    End,
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    /// A start tag that was `<x/>`: its end comes next.
    empty: bool,
}

impl<'a> Parser<'a> {
    fn new(document: &'a [u8]) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(document).map_err(|error| XmlError {
            problem: "bytes that are not UTF-8".to_owned(),
            offset: error.valid_up_to() as u64,
        })?;
        if let Some((offset, character)) = text.char_indices().find(|(_, character)| is_forbidden(*character)) {
            let problem = format!("the control character {character:?}");
            return Err(XmlError { problem, offset: offset as u64 });
        }
        Ok(Self { reader: Reader::from_str(text), empty: false })
    }

    /// The problem may hold a peer's words: no more of them than fit on a line, and nothing that moves a cursor.
    fn wrong(&self, problem: impl Into<String>) -> XmlError {
        let problem: String = problem.into();
        let shown = problem.chars().map(|c| if c.is_control() { ' ' } else { c });
        XmlError { problem: shown.take(MAX_PROBLEM).collect(), offset: self.reader.buffer_position() }
    }

    fn token(&mut self) -> Result<Token, XmlError> {
        if std::mem::take(&mut self.empty) {
            return Ok(Token::Close);
        }
        loop {
            let event = self.reader.read_event().map_err(|error| self.wrong(error.to_string()))?;
            return Ok(match event {
                Event::Start(tag) => Token::Open(tag.local_name().as_ref().to_owned()),
                Event::Empty(tag) => {
                    self.empty = true;
                    Token::Open(tag.local_name().as_ref().to_owned())
                }
                // The reader has checked that it closes what is open.
                Event::End(_) => Token::Close,
                Event::Text(text) => Token::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Token::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(entity) => Token::Text(self.entity(&entity)?),
                Event::DocType(_) => return Err(self.wrong("a document type declaration, which is not accepted")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
                Event::Eof => Token::End,
            });
        }
    }

    fn entity(&self, entity: &BytesRef<'_>) -> Result<String, XmlError> {
        if let Some(character) = entity.resolve_char_ref().map_err(|error| self.wrong(error.to_string()))? {
            if is_forbidden(character) {
                return Err(self.wrong(format!("the control character {character:?}")));
            }
            return Ok(character.to_string());
        }
        let text = match &**entity {
            "lt" => "<",
            "gt" => ">",
            "amp" => "&",
            "quot" => "\"",
            "apos" => "'",
            name => return Err(self.wrong(format!("the unknown entity {name:?}"))),
        };
        Ok(text.to_owned())
    }

    /// The next element's name, or none when the end tag of `within` comes instead.
    fn next_open(&mut self, within: &str) -> Result<Option<String>, XmlError> {
        loop {
            return match self.token()? {
                Token::Open(name) => Ok(Some(name)),
                Token::Close => Ok(None),
                Token::Text(text) if text.trim().is_empty() => continue,
                Token::Text(_) => Err(self.wrong(format!("text in <{within}>"))),
                Token::End => Err(self.wrong(format!("the end of the document in <{within}>"))),
            };
        }
    }

    fn open(&mut self, name: &str) -> Result<(), XmlError> {
        match self.next_open("the document")? {
            Some(found) if found == name => Ok(()),
            Some(found) => Err(self.wrong(format!("<{found}> where <{name}> must be"))),
            None => Err(self.wrong(format!("no <{name}>"))),
        }
    }

    /// The end tag of `name`, after nothing but space.
    fn close(&mut self, name: &str) -> Result<(), XmlError> {
        match self.next_open(name)? {
            None => Ok(()),
            Some(found) => Err(self.wrong(format!("<{found}> where </{name}> must be"))),
        }
    }

    fn end(&mut self) -> Result<(), XmlError> {
        loop {
            match self.token()? {
                Token::End => return Ok(()),
                Token::Text(text) if text.trim().is_empty() => {}
                _ => return Err(self.wrong("more after the document's end")),
            }
        }
    }

    fn text_until(&mut self, name: &str) -> Result<String, XmlError> {
        let mut whole = String::new();
        loop {
            match self.token()? {
                Token::Text(text) => whole.push_str(&text),
                Token::Close => return Ok(whole),
                Token::Open(found) => return Err(self.wrong(format!("<{found}> in <{name}>"))),
                Token::End => return Err(self.wrong(format!("the end of the document in <{name}>"))),
            }
        }
    }

    /// What follows `<params>`, its end tag included.
    fn params(&mut self) -> Result<Vec<Value>, XmlError> {
        let mut params = Vec::new();
        while let Some(name) = self.next_open("params")? {
            if name != "param" {
                return Err(self.wrong(format!("<{name}> in <params>")));
            }
            self.open("value")?;
            params.push(self.value(0)?);
            self.close("param")?;
        }
        Ok(params)
    }

    /// What follows `<value>`, its end tag included.
    fn value(&mut self, depth: usize) -> Result<Value, XmlError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("values nested more than {MAX_DEPTH} deep")));
        }
        let mut untyped = String::new();
        loop {
            match self.token()? {
                Token::Text(text) => untyped.push_str(&text),
                // A value without a type is a string.
                Token::Close => return Ok(Value::String(untyped)),
                Token::Open(name) if untyped.trim().is_empty() => {
                    let value = self.typed(&name, depth)?;
                    self.close("value")?;
                    return Ok(value);
                }
                Token::Open(name) => return Err(self.wrong(format!("text before <{name}>"))),
                Token::End => return Err(self.wrong("the end of the document in <value>")),
            }
        }
    }

    fn typed(&mut self, name: &str, depth: usize) -> Result<Value, XmlError> {
        match name {
            "array" => return self.array(depth),
            "struct" => return self.members(depth),
            _ => {}
        }
        let text = self.text_until(name)?;
        let trimmed = text.trim();
        let wrong = || self.wrong(format!("{trimmed:?} as <{name}>"));
        Ok(match name {
            "nil" => Value::Nil,
            "string" => Value::String(text),
            "boolean" => match trimmed {
                "1" => Value::Bool(true),
                "0" => Value::Bool(false),
                _ => return Err(wrong()),
            },
            // A hub accepts a number in <int> that is too large for it.
            "int" | "i4" | "i8" | "i2" | "i1" => Value::Int(trimmed.parse().map_err(|_| wrong())?),
            "double" => Value::Double(trimmed.parse().map_err(|_| wrong())?),
            "dateTime.iso8601" => Value::DateTime(trimmed.to_owned()),
            "base64" => {
                let bare: String = text.split_ascii_whitespace().collect();
                Value::Bytes(LENIENT.decode(bare).map_err(|_| wrong())?)
            }
            _ => return Err(self.wrong(format!("a value of the unknown type <{name}>"))),
        })
    }

    fn array(&mut self, depth: usize) -> Result<Value, XmlError> {
        self.open("data")?;
        let mut items = Vec::new();
        while let Some(name) = self.next_open("data")? {
            if name != "value" {
                return Err(self.wrong(format!("<{name}> in an array")));
            }
            items.push(self.value(depth + 1)?);
        }
        self.close("array")?;
        Ok(Value::Array(items))
    }

    fn members(&mut self, depth: usize) -> Result<Value, XmlError> {
        let mut members = Struct::new();
        while let Some(name) = self.next_open("struct")? {
            if name != "member" {
                return Err(self.wrong(format!("<{name}> in a struct")));
            }
            let (mut name, mut value) = (None, None);
            // In either order.
            while let Some(part) = self.next_open("member")? {
                match part.as_str() {
                    "name" => name = Some(self.text_until("name")?),
                    "value" => value = Some(self.value(depth + 1)?),
                    part => return Err(self.wrong(format!("<{part}> in a member"))),
                }
            }
            let (Some(name), Some(value)) = (name, value) else {
                return Err(self.wrong("a member without name or value"));
            };
            members.insert(name, value);
        }
        Ok(Value::Struct(members))
    }

    fn fault(&self, value: &Value) -> Result<Fault, XmlError> {
        match (value.get("faultCode").as_int(), value.get("faultString")) {
            (Some(code), Value::String(text)) => Ok(Fault { code, text: text.clone() }),
            _ => Err(self.wrong("a fault without faultCode and faultString")),
        }
    }
}

/// What XML 1.0 does not allow, even as a reference.
fn is_forbidden(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}
